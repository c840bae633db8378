"""What a message may and must have, version by version."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netcore.fix import FieldType, RejectReason, dictionary
from netcore.fix.dictionary import _MULTIPLE
from netcore.fix.fields import DATA_LENGTH, Message
from netcore.fix.tables import DEFINED, HEADERS, MESSAGES, MSG_TYPES, TYPES
from netcore.fix.values import ENUMS

VERSIONS = [
    *((f"FIX.4.{minor}", "") for minor in range(5)),
    *(("FIXT.1.1", version) for version in "789"),
]
HEADER = "49=TW|56=ISLD|34=2|52=20240808-12:00:00"


def message(text, header=HEADER, trailer="|10=000"):
    kind, _, body = text.partition("|")
    parts = f"8=FIX|9=0|35={kind}|{header}{'|' if body else ''}{body}{trailer}"
    pairs = [field.split("=", 1) for field in parts.split("|")]
    return Message([(int(tag), value.encode()) for tag, value in pairs])


def fault(text, version=("FIX.4.4", ""), **changes):
    found = dictionary(*version, user_defined=False).validate(message(text, **changes))
    return None if found is None else (found.reason.value, found.tag)


ORDER = "D|11=ID|21=1|55=INTC|54=1|60=20240808-12:00:00|40=1"


class TestEveryVersion:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_session_messages_are_known(self, version):
        assert fault("0", version) is None
        assert fault("1|112=x", version) is None
        assert fault("2|7=1|16=0", version) is None
        assert fault("4|36=5|123=Y", version) is None
        assert fault("5|58=bye", version) is None

    @pytest.mark.parametrize("version", VERSIONS)
    def test_missing_wrong_and_foreign_tags_are_found(self, version):
        assert fault("1", version) == (1, 112)
        assert fault("0|0=x", version) == (0, 0)
        assert fault("0|-1=x", version) == (0, -1)
        assert fault("0|5000=x", version) == (0, 5000)
        assert fault("0|36=5", version) == (2, 36)
        assert fault("0|112=", version) == (4, 112)
        assert fault("2|7=x|16=0", version) == (6, 7)
        assert fault("*", version) == (11, None)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_header_leads_and_the_trailer_ends(self, version):
        assert fault("1|112=x|50=y", version) == (14, 50)
        assert fault("1|112=x|93=1|89=y", version) is None
        assert fault("1|93=1|89=y|112=x", version) == (14, 112)

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("tag", [34, 49, 52, 56])
    def test_the_header_has_to_be_whole(self, version, tag):
        rest = "|".join(f for f in HEADER.split("|") if not f.startswith(f"{tag}="))

        assert fault("0", version, header=rest) == (1, tag)

    def test_tags_are_those_of_the_version(self):
        assert fault("3|45=1|371=5", ("FIX.4.1", "")) == (0, 371)
        assert fault("3|45=1|371=5", ("FIX.4.2", "")) is None
        assert fault("0|55=x", ("FIX.4.4", "")) == (2, 55)
        # Session messages under FIXT know FIXT's tags alone.
        assert fault("0|55=x", ("FIXT.1.1", "7")) == (0, 55)
        assert fault("0|58=x", ("FIXT.1.1", "7")) == (2, 58)

    def test_fixt_logons_name_an_application_version(self):
        assert fault("A|98=0|108=30", ("FIXT.1.1", "9")) == (1, 1137)
        assert fault("A|98=0|108=30|1137=9", ("FIXT.1.1", "9")) is None


class TestOrders:
    @pytest.mark.parametrize("version", VERSIONS[2:])
    def test_a_plain_order_passes(self, version):
        assert fault(ORDER, version) is None

    @pytest.mark.parametrize("version", VERSIONS[2:])
    @pytest.mark.parametrize("tag", [11, 54, 40])
    def test_each_required_tag_is_missed(self, version, tag):
        rest = "|".join(f for f in ORDER.split("|") if not f.startswith(f"{tag}="))

        assert fault(rest, version) == (1, tag)

    def test_the_same_tag_twice(self):
        assert fault(f"{ORDER}|40=2") == (13, 40)

    @pytest.mark.parametrize(
        ("field", "found"),
        [
            ("21=4", (5, 21)),
            ("40=w", (5, 40)),
            ("167=BOO", (5, 167)),
            ("167=CS", None),
            ("18=1 G", None),
            ("18=1 :", (5, 18)),
            ("18=12", (5, 18)),
            ("38=+200.00", (6, 38)),
            ("38=1e3", (6, 38)),
            ("38=002000.00", None),
            ("38=.5", None),
            ("38=5.", None),
            ("38=-", (6, 38)),
            ("126=20040415", (6, 126)),
            ("126=20040415-10:00:00", None),
            ("64=20240230", (6, 64)),
            ("64=20240229", None),
            ("200=202413", (6, 200)),
            ("200=202412w3", None),
            ("114=y", (6, 114)),
            ("54=12", (6, 54)),
            ("58=", (4, 58)),
            ("96=x", (2, 96)),
        ],
    )
    def test_values_have_the_form_of_their_type(self, field, found):
        tag = field.partition("=")[0]
        rest = "|".join(f for f in ORDER.split("|") if not f.startswith(f"{tag}="))

        assert fault(f"{rest}|{field}") == found


class TestGroups:
    @pytest.mark.parametrize(
        ("group", "found"),
        [
            ("386=2|336=a|336=b", None),
            ("386=3|336=a|336=b", (16, 386)),
            ("386=1|336=a|336=b", (16, 386)),
            ("386=0", None),
            ("386=2|336=a|625=x|336=b", None),
            ("386=1|625=x|336=a", (15, 625)),
            ("386=1|336=a|625=x|625=y", (13, 625)),
            ("386=1|336=", (4, 336)),
            ("386=x", (6, 386)),
            ("386=02|336=a|336=b", None),
            ("386=-0", (16, 386)),
            ("386=" + "1" * 4400 + "|336=a", (16, 386)),
            ("386=" + "0" * 4400, None),
            ("453=1|448=a|802=02|523=x|803=1|523=y|803=1", None),
            ("453=1|448=a|802=" + "1" * 4400 + "|523=x", (16, 802)),
            ("78=2|79=a|80=5|661=1|79=b|80=1|661=1", (15, 661)),
            ("78=2|79=a|661=1|80=5|79=b|661=1|80=1", None),
            ("453=1|448=a|447=D|452=1|802=2|523=x|803=1|523=y|803=1", None),
            ("453=1|448=a|802=2|523=x|803=1", (16, 802)),
            ("453=1|448=a|802=1|803=1|523=x", (15, 803)),
            ("453=2|448=a|802=1|523=x|448=b", None),
            ("453=1|448=a|447=%", (5, 447)),
            ("336=a", (2, 336)),
        ],
    )
    def test_members_are_counted_and_in_order(self, group, found):
        assert fault(f"{ORDER}|{group}") == found

    def test_zero_members_are_no_members(self):
        definition = "d|320=a|322=b|323=6|55=TBS|22=8|167=CS|336=ONE|58=none|454=0"

        assert fault(definition) is None


INSTRUMENT = "55=EUR/USD|460=4"
# One message of each type as two parties would exchange it (FIX 4.4 Vol. 3 to 5).
APPLICATION = {
    "6": f"6|23=i1|28=N|{INSTRUMENT}|54=1|27=S|25=H|199=1|104=A",
    "8": (
        "8|37=o1|11=c1|453=1|448=me|447=D|452=1|17=e1|150=F|39=1|1=acc|"
        f"{INSTRUMENT}|54=1|38=10|40=2|44=1.1|59=0|32=4|31=1.1|151=6|14=4|6=1.1|"
        "60=20240808-12:00:00.123|382=1|375=broker|136=1|137=0.1|138=USD|139=4"
    ),
    "9": "9|37=NONE|11=c2|41=c1|39=8|434=1|102=1|58=unknown",
    "AE": (
        f"AE|571=t1|487=0|570=N|{INSTRUMENT}|32=4|31=1.1|75=20240808|"
        "60=20240808-12:00:00|552=2|54=1|37=o1|453=1|448=a|447=D|452=1|54=2|37=o2"
    ),
    "AJ": f"AJ|693=r1|694=1|{INSTRUMENT}|54=1",
    "B": "B|148=halt|33=2|58=one|58=two",
    "D": "D|11=c1|21=1|55=EUR/USD|54=1|60=20240808-12:00:00|38=1|40=1",
    "E": "E|66=l1|394=3|68=1|73=1|11=c1|67=1|55=EUR/USD|54=1",
    "F": f"F|41=c1|11=c2|{INSTRUMENT}|54=1|60=20240808-12:00:00|38=10",
    "G": f"G|41=c1|11=c3|{INSTRUMENT}|54=1|60=20240808-12:00:00|38=12|40=2|44=1.2",
    "H": f"H|11=c1|{INSTRUMENT}|54=1",
    "Q": f"Q|37=o1|17=e1|127=A|{INSTRUMENT}|54=1",
    "R": "R|131=q1|146=1|55=EUR/USD|54=1|38=5",
    "S": f"S|117=s1|131=q1|{INSTRUMENT}|132=1.1|133=1.2",
    "V": "V|262=m1|263=1|264=0|265=1|267=2|269=0|269=1|146=2|55=A|48=1|22=8|55=B",
    "W": f"W|262=m1|{INSTRUMENT}|268=2|269=0|270=1.1|271=5|269=1|270=1.2|271=6",
    "X": "X|262=m1|268=2|279=0|269=0|55=A|270=1|271=5|279=2|278=x|55=A",
    "Y": "Y|262=m1|281=0|816=1|817=x",
    "a": f"a|649=q|117=s1|{INSTRUMENT}",
    "c": f"c|320=d1|321=0|{INSTRUMENT}",
    "e": f"e|324=s1|263=1|{INSTRUMENT}",
    "f": f"f|{INSTRUMENT}|326=17|291=1 2",
    "g": "g|335=s1|263=0",
    "h": "h|336=day|340=2",
    "i": "i|117=s1|296=1|302=1|304=1|295=1|299=1|132=1.1",
    "j": "j|45=2|372=D|380=3|58=no",
    "q": "q|11=c9|530=7|60=20240808-12:00:00",
    "r": "r|37=o1|530=7|531=7",
    "x": "x|320=l1|559=4",
    "y": "y|320=l1|322=r1|560=0|393=1|146=1|55=A",
    "AB": (
        f"AB|11=c1|{INSTRUMENT}|555=2|600=A|624=1|600=B|624=2|54=1|"
        "60=20240808-12:00:00|40=1"
    ),
    "AP": (
        "AP|721=p1|728=0|715=20240808|1=acc|581=1|730=1|731=1|734=1|702=1|703=TQ|"
        "704=5|753=1|707=FMTM|708=1|453=1|448=a"
    ),
}


class TestApplicationMessages:
    @pytest.mark.parametrize("text", APPLICATION.values(), ids=APPLICATION)
    def test_what_two_parties_would_say_is_right(self, text):
        assert fault(text) is None

    @pytest.mark.parametrize("text", APPLICATION.values(), ids=APPLICATION)
    def test_each_required_field_is_missed(self, text):
        kind, *fields = text.split("|")
        spec = dictionary("FIX.4.4")._messages[kind]
        outside = _outside_of_groups(kind, fields)
        for tag in spec.required:
            # The members of a group go with its count.
            left = [f for f in fields if not f.startswith(f"{tag}=")]
            if tag not in spec.groups:
                assert fault("|".join([kind, *left])) == (1, tag)
            assert tag in outside

    @pytest.mark.parametrize("text", APPLICATION.values(), ids=APPLICATION)
    def test_a_field_of_another_message_is_found(self, text):
        assert fault(f"{text}|112=x") == (2, 112)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            # A member of a group lacks what it must have, at its end or in between.
            ("Y|262=m1|816=2|817=x", (16, 816)),
            (APPLICATION["AE"].replace("54=2|37=o2", "54=2"), (1, 37)),
            (APPLICATION["AE"].replace("54=1|37=o1|", "54=1|"), (1, 37)),
            (APPLICATION["E"].replace("|67=1", ""), (1, 67)),
            (APPLICATION["V"].replace("269=0|", ""), (16, 267)),
            (APPLICATION["V"].replace("267=2", "267=3"), (16, 267)),
            (APPLICATION["X"].replace("279=0|269=0", "269=0|279=0"), (15, 269)),
            (APPLICATION["W"].replace("269=1", "269=%"), (5, 269)),
            (APPLICATION["8"].replace("150=F", "150=?"), (5, 150)),
            (APPLICATION["8"].replace("14=4", "14=four"), (6, 14)),
            (APPLICATION["i"].replace("299=1", "117=1"), (16, 295)),
            (APPLICATION["i"].replace("304=1|", ""), (1, 304)),
        ],
    )
    def test_what_is_wrong_inside_is_found(self, text, found):
        assert fault(text) == found

    def test_a_nested_member_without_its_field_is_found(self):
        known = dictionary("FIX.4.4").extended(
            messages={"U1": "453(448 447! 802(523 803!)) 58"}
        )

        def found(body):
            fault = known.validate(message(f"U1|{body}"))
            return fault and (fault.reason.value, fault.tag)

        assert found("453=1|448=a|447=D|802=2|523=x|803=1|523=y|803=2|58=t") is None
        assert found("453=1|448=a|447=D|802=2|523=x|523=y|803=2|58=t") == (1, 803)
        assert found("453=1|448=a|447=D|802=2|523=x|803=1|523=y|58=t") == (1, 803)
        assert found("453=2|448=a|802=1|523=x|803=1|448=b|447=D") == (1, 447)
        assert found("453=0|58=t") is None

    @pytest.mark.parametrize(
        "text",
        [
            "f|55=A|291=1 2|292=A B",
            "D|11=c1|55=A|54=1|60=20240808-12:00:00|40=1|529=1 2|18=1 G",
            "8|37=o|17=e|150=0|39=0|55=A|54=1|151=1|14=0|6=0|529=1 2",
        ],
    )
    def test_lists_of_values_are_read_value_by_value(self, text):
        assert fault(text) is None
        assert fault(text + "%") is not None

    def test_quickfix_knows_the_same_messages(self):
        known = dictionary("FIX.4.4")
        root, numbers = quickfix_dictionary()
        components = {block.get("name"): block for block in root.find("components")}
        checked = 0
        for message in root.find("messages"):
            if message.get("msgtype") == "n":
                continue
            spec = known._messages[message.get("msgtype")]
            assert structure(message, components, numbers) == ours(spec)
            checked += 1
        assert checked == 92

    def test_quickfix_knows_the_same_values_and_more(self):
        root, _ = quickfix_dictionary()
        for field in root.find("fields"):
            number = int(field.get("number"))
            values = {value.get("enum") for value in field.findall("value")}
            if field.get("type") != "BOOLEAN" and number in ENUMS:
                assert values <= set(ENUMS[number].split()), number
            if field.get("type") == "MULTIPLEVALUESTRING":
                assert number in _MULTIPLE


def _outside_of_groups(kind, fields):
    known = dictionary("FIX.4.4")._messages[kind]
    return {int(f.split("=")[0]) for f in fields} & known.order.keys()


def quickfix_dictionary():
    """The engine's own tables, which come with its wheel."""
    pytest.importorskip("quickfix")
    path = Path(sys.prefix) / "share" / "quickfix" / "FIX44.xml"
    if not path.exists():
        pytest.skip(f"{path.name} of QuickFIX is absent")
    root = ElementTree.parse(path).getroot()  # noqa: S314 - an installed file
    return root, {
        field.get("name"): int(field.get("number")) for field in root.find("fields")
    }


def structure(element, components, numbers):
    """Return the fields of a message or group: (tag, required, members)."""
    found = []
    for child in element:
        if child.tag == "component":
            found += structure(components[child.get("name")], components, numbers)
        else:
            found.append(
                (
                    numbers[child.get("name")],
                    child.get("required") == "Y",
                    structure(child, components, numbers)
                    if child.tag == "group"
                    else None,
                )
            )
    return found


def ours(spec):
    return [
        (
            tag,
            tag in spec.required,
            ours(spec.groups[tag]) if tag in spec.groups else None,
        )
        for tag in spec.order
    ]


class TestUserDefined:
    def test_tags_from_5000_on_pass_unless_forbidden(self):
        known = dictionary("FIX.4.4")

        assert known.validate(message("0|5000=x")) is None
        assert known.validate(message(f"{ORDER}|9999=x")) is None
        assert known.validate(message("0|999=x")).reason is (
            RejectReason.INVALID_TAG_NUMBER
        )
        assert known.validate(message("0|5000=")).reason is (
            RejectReason.TAG_WITHOUT_VALUE
        )

    def test_a_dictionary_can_learn(self):
        base = dictionary("FIX.4.4", user_defined=False)
        known = base.extended(
            fields={25035: FieldType.COUNT},
            messages={"UX": "11! 25035 268(269 270)", "A": "98! 108! 25035"},
            enums={21: []},
        )

        assert known.validate(message("A|98=0|108=5|25035=2")) is None
        assert known.validate(message("A|98=0|108=5|25035=x")).tag == 25035
        assert known.validate(message("UX|25035=1")).tag == 11
        assert known.validate(message("UX|11=a|268=1|269=0|270=1")) is None
        assert known.validate(message(ORDER.replace("21=1", "21=4"))) is None
        assert base.validate(message("A|98=0|108=5|25035=2")) is not None
        assert base.validate(message(ORDER.replace("21=1", "21=4"))) is not None


class TestCanonical:
    def test_fields_come_by_tag_with_their_groups(self):
        body = message(
            "D|55=X|386=2|336=b|625=1|336=a|11=ID|453=1|448=p|802=1|523=q|803=1|40=1"
        ).body
        text = "|".join(
            f"{tag}={value.decode()}"
            for tag, value in dictionary("FIX.4.4").canonical("D", body)
        )

        assert text == (
            "11=ID|40=1|55=X|386=2|336=b|625=1|336=a|453=1|448=p|802=1|523=q|803=1"
        )

    def test_empty_groups_take_nothing_with_them(self):
        body = [(454, b"0"), (336, b"x"), (55, b"y")]

        assert dictionary("FIX.4.4").canonical("d", body) == sorted(body)

    def test_unknown_structure_is_sorted_only_if_no_tag_repeats(self):
        known = dictionary("FIX.4.3")

        assert known.canonical("8", [(37, b"a"), (17, b"b")])[0] == (17, b"b")
        doubled = [(37, b"a"), (17, b"b"), (37, b"c")]
        assert known.canonical("8", doubled) == doubled


class TestTables:
    def test_there_are_dictionaries_for_these_versions_only(self):
        for version in VERSIONS:
            assert dictionary(*version).begin_string == version[0]
        for wrong in [("FIX.5.0", ""), ("FIXT.1.1", ""), ("FIX.3.9", "")]:
            with pytest.raises(LookupError, match="no dictionary"):
                dictionary(*wrong)

    def test_tables_agree_with_each_other(self):
        assert set(MESSAGES) == set(DEFINED) == set(MSG_TYPES)
        assert set(HEADERS) <= set(DEFINED)
        assert {FieldType(name) for name in TYPES} < set(FieldType)
        for version in MESSAGES:
            assert set(MESSAGES[version]) <= set(MSG_TYPES[version].split())

    @pytest.mark.parametrize("version", VERSIONS)
    def test_what_a_message_may_have_is_defined(self, version):
        known = dictionary(*version)
        for kind, spec in known._messages.items():
            tags = known._admin_tags if kind in "012345A" else known._tags
            assert spec.order.keys() <= tags, kind

    def test_data_fields_are_text_and_their_lengths_counts(self):
        known = dictionary("FIXT.1.1", "9")
        for data, length in DATA_LENGTH.items():
            assert known._types.get(data) is None
            assert known._types.get(length) in {FieldType.COUNT, None}

    def test_enumerated_values_have_the_form_of_their_type(self):
        known = dictionary("FIXT.1.1", "9")
        for tag, values in ENUMS.items():
            for value in values.split():
                assert known._check_value(tag, value.encode(), frozenset({tag})) is None
            assert known._check_value(tag, b"nonsense", frozenset({tag})) is not None
