"""What a message may and must have, version by version."""

import pytest

from netcore.fix import FieldType, RejectReason, dictionary
from netcore.fix.fields import DATA_LENGTH, Message
from netcore.fix.tables import DEFINED, ENUMS, HEADERS, MESSAGES, MSG_TYPES, TYPES

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
        known = dictionary("FIX.4.4")

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
