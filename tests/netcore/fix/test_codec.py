"""Messages from bytes and bytes from messages."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from netcore.fix.codec import (
    FixParser,
    Garbled,
    GarbledReason,
    Resync,
    checksum,
    encode,
    join_fields,
)
from netcore.fix.errors import EncodeError
from netcore.fix.fields import DATA_LENGTH

# The example that introductions to FIX show; length and sum are not of our making.
GOLDEN = (
    b"8=FIX.4.2\x019=65\x0135=A\x0149=SERVER\x0156=CLIENT\x0134=177\x01"
    b"52=20090107-18:15:16\x0198=0\x01108=30\x0110=062\x01"
)
HEARTBEAT = encode([(8, b"FIX.4.4"), (35, b"0"), (34, b"2"), (112, b"x")])

SPECIAL = {8, 9, 10, 35, *DATA_LENGTH, *DATA_LENGTH.values()}
TAGS = st.integers(1, 30_000).filter(lambda tag: tag not in SPECIAL)
VALUES = st.binary(min_size=1, max_size=20).filter(lambda value: b"\x01" not in value)
PLAIN = st.tuples(TAGS, VALUES)


@st.composite
def data_pairs(draw):
    """A length field and its data field, which may hold anything."""
    tag = draw(st.sampled_from(sorted(DATA_LENGTH)))
    value = draw(st.binary(min_size=1, max_size=30))
    return [(DATA_LENGTH[tag], b"%d" % len(value)), (tag, value)]


@st.composite
def messages(draw):
    begin = draw(st.sampled_from([b"FIX.4.0", b"FIX.4.4", b"FIXT.1.1"]))
    body = draw(
        st.lists(st.one_of(st.lists(PLAIN, min_size=1, max_size=3), data_pairs()))
    )
    return [(8, begin), (35, b"D"), *(pair for part in body for pair in part)]


def cut(data, places):
    """Return `data` in pieces."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feed_all(parser, pieces):
    return [message for piece in pieces for message in parser.feed(piece)]


class TestChecksum:
    @given(st.binary(max_size=2000))
    def test_it_is_the_sum_of_all_bytes_modulo_256(self, data):
        assert checksum(data) == sum(data) % 256

    @pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 513, 5000])
    def test_it_holds_for_the_largest_bytes_at_every_edge(self, size):
        data = b"\xff" * size

        assert checksum(data) == sum(data) % 256


class TestEncode:
    def test_a_known_message(self):
        fields = [
            (8, "FIX.4.2"), (35, "A"), (49, "SERVER"), (56, "CLIENT"), (34, 177),
            (52, "20090107-18:15:16"), (98, 0), (108, 30),
        ]  # fmt: skip

        assert encode(fields) == GOLDEN

    def test_given_lengths_and_sums_are_computed_anew(self):
        fields = FixParser().feed(GOLDEN)[0].fields

        assert encode(fields) == GOLDEN
        assert encode([*fields[:-1], (9, b"1"), (10, b"999")]) == GOLDEN

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"raw", b"raw"),
            ("grün", "grün".encode()),
            (-7, b"-7"),
            (True, b"Y"),
            (False, b"N"),
            (Decimal("1E+3"), b"1000"),
            (Decimal("0.00000001"), b"0.00000001"),
        ],
    )
    def test_every_type_has_one_form(self, value, text):
        assert join_fields([(35, b"D"), (58, value)]) == b"35=D\x0158=" + text + b"\x01"

    def test_a_value_may_end_in_an_equals_sign(self):
        assert join_fields([(58, b"a2V5==")]) == b"58=a2V5==\x01"

    def test_data_may_hold_soh(self):
        assert join_fields([(95, 3), (96, b"a\x01b")]) == b"95=3\x0196=a\x01b\x01"

    @pytest.mark.parametrize(
        "pairs",
        [
            [(58, b"")],
            [(58, b"a\x01b")],
            [(58, 1.5)],
            [(58, None)],
            [(58, Decimal("NaN"))],
            [(0, b"x")],
            [(-1, b"x")],
            [(96, b"x")],
            [(95, 2), (96, b"x")],
            [(95, 1), (58, b"y"), (96, b"x")],
            [(93, 1), (96, b"x")],
        ],
    )
    def test_what_cannot_be_sent_is_refused_with_its_tag(self, pairs):
        with pytest.raises(EncodeError) as caught:
            join_fields(pairs)

        assert caught.value.tag == pairs[-1][0]

    @pytest.mark.parametrize(
        "pairs",
        [
            [],
            [(35, b"D")],
            [(8, b"FIX.4.4")],
            [(8, b"FIX.4.4"), (34, b"1"), (35, b"D")],
            [(8, b"XML"), (35, b"D")],
            [(8, b"FIX.4.4\x01"), (35, b"D")],
        ],
    )
    def test_begin_string_and_type_lead(self, pairs):
        with pytest.raises(EncodeError):
            encode(pairs)

    @given(messages())
    def test_what_is_encoded_is_read_back(self, fields):
        parser = FixParser()
        (message,) = parser.feed(encode(fields))

        assert [pair for pair in message.fields if pair[0] not in {9, 10}] == fields
        assert message.raw == encode(fields)
        assert parser.take_garbled() == []


class TestParse:
    @given(st.lists(messages(), max_size=5), st.lists(st.integers(0, 10_000)))
    def test_it_does_not_matter_how_a_stream_is_cut(self, sent, places):
        data = b"".join(encode(fields) for fields in sent)
        parser = FixParser()
        found = feed_all(parser, cut(data, places))

        assert [m.raw for m in found] == [encode(fields) for fields in sent]
        assert parser.take_garbled() == []
        assert parser.pending_bytes == 0
        assert parser.delivered == len(sent)

    def test_it_may_come_byte_by_byte(self):
        data = GOLDEN + HEARTBEAT
        found = feed_all(FixParser(), [data[i : i + 1] for i in range(len(data))])

        assert [m.type for m in found] == ["A", "0"]

    def test_a_large_message_in_small_pieces_is_not_copied_each_time(self):
        large = encode([(8, b"FIX.4.4"), (35, b"B"), (58, b"x" * 500_000)])
        parser = FixParser()
        for position in range(0, len(large) - 1, 7):
            parser.feed(large[position : min(position + 7, len(large) - 1)])
        assert parser.pending_bytes == len(large) - 1

        assert len(parser.feed(large[-1:])) == 1

    @pytest.mark.parametrize("resync", Resync)
    @given(
        st.lists(st.sampled_from([GOLDEN, HEARTBEAT]), max_size=4),
        st.binary(max_size=40),
        st.lists(st.integers(0, 10_000)),
    )
    def test_whatever_comes_before_a_message_it_is_found(
        self, resync, sent, noise, places
    ):
        assume(b"8=FIX" not in noise and not (noise + b"8").endswith(b"8=FIX8"))
        parser = FixParser(resync=resync)
        found = feed_all(parser, cut(noise + b"".join(sent), places))

        assert [m.raw for m in found] == sent

    @given(st.binary(max_size=300), st.lists(st.integers(0, 10_000)))
    def test_no_bytes_at_all_raise_or_get_lost_count_of(self, data, places):
        parser = FixParser()
        found = feed_all(parser, cut(data, places))

        skipped = sum(garbled.size for garbled in parser.take_garbled())
        read = sum(len(message.raw) for message in found)
        assert read + skipped + parser.pending_bytes == len(data)

    @pytest.mark.parametrize("resync", Resync)
    @given(
        st.integers(0, len(GOLDEN) - 1),
        st.integers(1, 255),
        st.lists(st.integers(0, 10_000)),
    )
    def test_a_changed_byte_never_passes_and_never_stops_the_stream(
        self, resync, place, change, places
    ):
        bad = bytearray(GOLDEN)
        bad[place] = (bad[place] + change) % 256
        parser = FixParser(resync=resync, max_message_size=4096)
        tail = HEARTBEAT * 200
        found = feed_all(parser, cut(bytes(bad) + tail, places))

        # A byte can change so that the sum still holds only by changing the sum too.
        assert GOLDEN not in [m.raw for m in found]
        assert found[-1].raw == HEARTBEAT
        assert parser.take_garbled()

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (GOLDEN.replace(b"10=062", b"10=063"), GarbledReason.TRAILER),
            (GOLDEN.replace(b"10=062", b"10=62"), GarbledReason.TRAILER),
            (GOLDEN.replace(b"9=65", b"9=64"), GarbledReason.TRAILER),
            (GOLDEN.replace(b"9=65", b"9=0"), GarbledReason.HEADER),
            (GOLDEN.replace(b"9=65", b"9=x"), GarbledReason.HEADER),
            (
                GOLDEN.replace(b"\x0135=A\x0149", b"\x0149=A\x0135"),
                GarbledReason.HEADER,
            ),
            (b"8=FIX.4.4\x0135=0\x019=5\x0110=000\x01", GarbledReason.HEADER),
            (GOLDEN.replace(b"9=65", b"9=999999999"), GarbledReason.TOO_LARGE),
            (b"\r\n", GarbledReason.NOISE),
        ],
    )
    def test_what_is_skipped_says_why_and_the_next_is_found(self, bad, reason):
        parser = FixParser()
        found = parser.feed(HEARTBEAT + bad + HEARTBEAT)

        assert [m.raw for m in found] == [HEARTBEAT, HEARTBEAT]
        assert parser.take_garbled() == [Garbled(reason=reason, size=len(bad), after=1)]

    @pytest.mark.parametrize(
        "begin", [b"FIX8=FIX.4.4", b"FIX\x0158=", b"FIX.4.4=", b"FIX123456789012"]
    )
    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_a_begin_string_that_is_none_is_garbled_however_it_is_cut(
        self, begin, size
    ):
        body = b"35=0\x0134=1\x01"
        head = b"8=%b\x019=%d\x01%b" % (begin, len(body), body)
        wire = head + b"10=%03d\x01" % checksum(head)
        parser = FixParser()
        found = feed_all(
            parser, [wire[at : at + size] for at in range(0, len(wire), size)]
        )

        assert found == []
        assert parser.take_garbled()

    def test_a_wrong_third_field_is_noticed_before_the_claimed_end(self):
        parser = FixParser()
        wire = b"8=FIX.4.4\x019=642\x0149=A\x01" + HEARTBEAT
        found = feed_all(parser, [wire[at : at + 1] for at in range(len(wire))])

        assert [message.raw for message in found] == [HEARTBEAT]

    def test_any_version_that_begins_with_fix_is_read(self):
        body = b"35=0\x0134=1\x01"
        head = b"8=FIX.5.0SP2\x019=%d\x01%b" % (len(body), body)
        (found,) = FixParser().feed(head + b"10=%03d\x01" % checksum(head))

        assert found[8] == b"FIX.5.0SP2"

    @pytest.mark.parametrize(
        "field", [b"no tag", b"=x", b"1x=2", b"035=2", b"+5=2", b"5"]
    )
    def test_a_field_without_a_tag_is_garbled(self, field):
        body = b"35=0\x01" + field + b"\x0158=a=b\x01"
        head = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
        parser = FixParser()

        assert parser.feed(head + b"10=%03d\x01" % checksum(head)) == []
        assert parser.take_garbled()[0].reason is GarbledReason.FIELDS

    def test_tags_that_cannot_be_are_left_to_the_session(self):
        body = b"35=0\x01-1=HI\x010=HO\x015000=HE\x0158=\x01"
        head = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
        (message,) = FixParser().feed(head + b"10=%03d\x01" % checksum(head))

        assert message.fields[3:-1] == [
            (-1, b"HI"), (0, b"HO"), (5000, b"HE"), (58, b"")
        ]  # fmt: skip

    def test_data_with_a_wrong_length_is_garbled(self):
        body = b"35=0\x0195=2\x0196=abc\x01"
        head = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
        parser = FixParser()

        assert parser.feed(head + b"10=%03d\x01" % checksum(head)) == []
        assert parser.take_garbled()[0].reason is GarbledReason.FIELDS

    def test_data_that_looks_like_a_message_is_none(self):
        outer = encode([(8, b"FIX.4.4"), (35, b"B"), (95, len(GOLDEN)), (96, GOLDEN)])
        (message,) = FixParser().feed(outer)

        assert message[96] == GOLDEN

    def test_a_damaged_message_does_not_set_free_what_it_holds(self):
        outer = encode(
            [(8, b"FIX.4.4"), (35, b"B"), (95, len(GOLDEN)), (96, GOLDEN), (58, b"x")]
        )
        bad = outer.replace(b"58=x", b"58=y")

        assert FixParser(resync=Resync.CLAIMED_END).feed(bad + HEARTBEAT)[0].raw == (
            HEARTBEAT
        )
        assert len(FixParser().feed(bad + HEARTBEAT)) == 2

    def test_an_end_claimed_inside_the_next_message_swallows_it(self):
        bad = GOLDEN.replace(b"9=65", b"9=80")

        assert FixParser().feed(bad + HEARTBEAT + GOLDEN)[0].raw == HEARTBEAT
        claimed = FixParser(resync=Resync.CLAIMED_END)
        assert [m.raw for m in claimed.feed(bad + HEARTBEAT + GOLDEN)] == [GOLDEN]

    def test_an_end_that_never_comes_is_given_up_at_the_limit(self):
        parser = FixParser(resync=Resync.CLAIMED_END, max_message_size=300)
        parser.feed(b"8=FIX.4.4\x019=20\x0135=0\x0158=" + b"x" * 100)
        assert parser.take_garbled() == []

        found = parser.feed(b"x" * 300 + GOLDEN)
        assert [m.raw for m in found] == [GOLDEN]

    def test_a_message_over_the_limit_is_skipped_without_waiting_for_it(self):
        parser = FixParser(max_message_size=100)
        parser.feed(b"8=FIX.4.4\x019=5000\x0135=0\x01")

        assert parser.take_garbled()[0].reason is GarbledReason.TOO_LARGE
        assert parser.feed(HEARTBEAT)[0].raw == HEARTBEAT

    def test_noise_that_trickles_in_is_one_disturbance(self):
        parser = FixParser()
        for _ in range(50):
            parser.feed(b"\n")

        assert parser.take_garbled() == [
            Garbled(reason=GarbledReason.NOISE, size=50, after=0)
        ]


class TestOracle:
    """simplefix reads what we write, and we read what it writes."""

    @given(messages())
    def test_simplefix_reads_ours(self, fields):
        simplefix = pytest.importorskip("simplefix")
        parser = simplefix.FixParser()
        for tag, length in DATA_LENGTH.items():
            parser.add_raw(length, tag)
        foreign = set(parser.raw_len_tags) - set(DATA_LENGTH.values())
        assume(foreign.isdisjoint(tag for tag, _ in fields))
        parser.append_buffer(encode(fields))
        theirs = parser.get_message()

        assert [
            (tag, value) for tag, value in theirs.pairs if tag not in {b"9", b"10"}
        ] == [(b"%d" % tag, value) for tag, value in fields]

    @given(st.lists(PLAIN, max_size=10))
    def test_we_read_what_simplefix_writes(self, body):
        simplefix = pytest.importorskip("simplefix")
        theirs = simplefix.FixMessage()
        fields = [(8, b"FIX.4.4"), (35, b"D"), *body]
        for tag, value in fields:
            theirs.append_pair(tag, value)
        (message,) = FixParser().feed(theirs.encode())

        assert [pair for pair in message.fields if pair[0] not in {9, 10}] == fields
        assert theirs.encode() == encode(fields)
