"""FIX messages as text and JSON: names, groups, secrets, faults."""

import pytest

from netcore.cli.fixlog import FixEntry, Garbage
from netcore.cli.fixtext import Node, check, entry_json, entry_lines, headline, tree
from netcore.fix import FixParser, encode

HEAD = [
    (8, "FIX.4.4"),
    (35, "W"),
    (34, 7),
    (49, "V"),
    (56, "C"),
    (52, "20240808-12:34:56.789"),
]
BOOK = [
    *HEAD, (262, "r1"), (55, "BTC"), (268, 2),
    (269, 0), (270, "61000.5"), (271, 3), (453, 1), (448, "P"), (452, 1),
    (269, 1), (270, "61001"), (58, "text after\x1b"),
]  # fmt: skip


def message(fields):
    (found,) = FixParser().feed(encode(fields))
    return found


def entry(fields, **place):
    return FixEntry(place.get("offset", 0), place.get("line", 0), "", message(fields))


def test_groups_are_trees_with_nested_groups_and_fields_after_them():
    nodes = tree(message(BOOK).fields)

    book = next(node for node in nodes if node.tag == 268)
    assert [[n.tag for n in member] for member in book.members] == [
        [269, 270, 271, 453],
        [269, 270, 58],
    ]
    parties = book.members[0][3]
    assert parties.members == ((Node(448, b"P"), Node(452, b"1")),)
    assert nodes[-1].tag == 10


def test_a_count_without_members_or_number_is_a_field_like_others():
    nodes = tree([(268, b"0"), (267, b"x"), (268, b"2"), (55, b"BTC")])

    assert nodes[:2] == (Node(268, b"0"), Node(267, b"x"))
    # 55 may lead a member of market data, so it is taken for the first one.
    assert nodes[2].members == ((Node(55, b"BTC"),),)
    assert tree([(268, b"2")]) == (Node(268, b"2", ()),)


def test_no_field_is_lost_or_moved_by_the_tree():
    def flat(nodes):
        for node in nodes:
            yield node.tag, node.value
            for member in node.members or ():
                yield from flat(member)

    fields = message(BOOK).fields
    assert list(flat(tree(fields))) == fields


def test_a_headline_says_who_says_what_to_whom():
    assert headline(message(BOOK)) == (
        "MarketDataSnapshotFullRefresh (W)  seq 7  from V  to C  "
        "at 20240808-12:34:56.789"
    )
    again = [*HEAD[:2], (43, "Y")]
    assert headline(message(again)).endswith("possible duplicate")
    assert headline(message([(8, "FIX.4.4"), (35, "U9")])) == "unknown type (U9)"


def test_lines_have_names_meanings_and_indented_members():
    lines = list(entry_lines(entry(BOOK, offset=12)))

    assert lines[0].startswith("byte 12  MarketDataSnapshotFullRefresh (W)")
    assert lines[1:] == [
        "      262 MDReqID                = r1",
        "       55 Symbol                 = BTC",
        "      268 NoMDEntries            = 2",
        "        [1]   269 MDEntryType            = 0 (BID)",
        "              270 MDEntryPx              = 61000.5",
        "              271 MDEntrySize            = 3",
        "              453 NoPartyIDs             = 1",
        "                [1]   448 PartyID                = P",
        "                      452 PartyRole              = 1 (EXECUTING_FIRM)",
        "        [2]   269 MDEntryType            = 1 (OFFER)",
        "              270 MDEntryPx              = 61001",
        "               58 Text                   = text after\\x1b",
    ]


def test_header_and_trailer_are_shown_when_asked_for():
    lines = list(entry_lines(entry(BOOK), envelope=True))
    assert any(" 8 BeginString" in line for line in lines)
    assert any("10 CheckSum" in line for line in lines)


LOGON = [
    (8, "FIX.4.4"),
    (35, "A"),
    (553, "me"),
    (554, "sesame"),
    (95, 3),
    (96, b"s\x01g"),
]


def test_secrets_are_shown_only_when_asked_for():
    shown = "\n".join(entry_lines(entry(LOGON)))
    assert "sesame" not in shown
    assert "554 Password               = ***" in shown
    assert "96 RawData                = ***" in shown
    shown = "\n".join(entry_lines(entry(LOGON), secrets=True))
    assert "= sesame" in shown
    assert "= s\\x01g" in shown
    assert "sesame" not in str(entry_json(entry(LOGON)))
    assert "sesame" in str(entry_json(entry(LOGON), secrets=True))


def test_json_holds_the_same_tree():
    found = entry_json(entry(BOOK, offset=3, line=2))

    assert (found["offset"], found["line"], found["type"]) == (3, 2, "W")
    assert found["name"] == "MarketDataSnapshotFullRefresh"
    book = next(field for field in found["fields"] if field["tag"] == 268)
    assert book["members"][0][0] == {
        "tag": 269, "name": "MDEntryType", "value": "0", "meaning": "BID",
    }  # fmt: skip


def test_garbage_is_shown_with_place_and_cause():
    garbage = Garbage(9, 4, 300, "no good", b"8=FIX\x01" + b"x" * 250)

    first, second = entry_lines(garbage)

    assert first == "line 4  GARBLED 300 bytes: no good"
    assert second.startswith("    8=FIX\\x01xxx")
    assert second.endswith("...")
    assert entry_json(garbage) == {
        "offset": 9, "line": 4, "size": 300, "cause": "no good",
        "head": "8=FIX\x01" + "x" * 250,
    }  # fmt: skip


ORDER = [
    *HEAD[:1],
    (35, "D"),
    *HEAD[2:],
    (11, "A"),
    (55, "X"),
    (60, "20240808-12:34:56"),
    (40, 1),
]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ([*ORDER, (54, 1), (38, 5)], ""),
        (ORDER, "Required tag missing: 54 (Side)"),
        ([*ORDER, (54, "?")], "Value is incorrect (out of range) for this tag: 54"),
        ([(8, "FIX.4.4"), (35, "ZZ"), *HEAD[2:]], "Invalid MsgType"),
        ([(8, "FIX.9.9"), (35, "0")], "no dictionary for BeginString 'FIX.9.9'"),
    ],
)  # fmt: skip
def test_a_message_is_held_against_the_dictionary_of_its_version(fields, fault):
    assert check(message(fields)).startswith(fault)
    assert bool(check(message(fields))) is bool(fault)
