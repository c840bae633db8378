"""Values, and finding them in a message."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.fix.errors import BadValue, FieldMissing, GroupMismatch
from netcore.fix.fields import Fields, Message, parse_timestamp, utc_timestamp

# MarketDataIncrementalRefresh with two entries, the second without size.
BOOK = Message(
    [
        (8, b"FIX.4.4"), (9, b"0"), (35, b"X"), (34, b"7"), (268, b"2"),
        (279, b"0"), (269, b"0"), (270, b"1.5"), (271, b"10"),
        (279, b"1"), (269, b"1"), (270, b"-0.25"),
        (58, b"tail"), (10, b"000"),
    ]
)  # fmt: skip


class TestTimestamps:
    @given(st.integers(0, 4_000_000_000_000_000_000), st.sampled_from([0, 3, 6, 9]))
    def test_what_is_written_is_read_back_without_a_rest(self, now, precision):
        unit = 10 ** (9 - precision)

        assert parse_timestamp(utc_timestamp(now, precision)) == now // unit * unit

    def test_a_known_time(self):
        assert utc_timestamp(1_723_120_496_789_999_999) == b"20240808-12:34:56.789"
        assert utc_timestamp(1_723_120_496_789_999_999, 9) == (
            b"20240808-12:34:56.789999999"
        )

    def test_the_cache_of_seconds_follows_time_both_ways(self):
        texts = [utc_timestamp(second * 10**9, 0) for second in (5, 6, 5)]

        assert texts == [
            time.strftime("%Y%m%d-%H:%M:%S", time.gmtime(s)).encode() for s in (5, 6, 5)
        ]

    def test_a_leap_second_is_the_second_after_it(self):
        assert parse_timestamp(b"20161231-23:59:60") == parse_timestamp(
            b"20170101-00:00:00"
        )

    def test_digits_below_nanoseconds_are_cut(self):
        assert parse_timestamp(b"19700101-00:00:00.000000001999") == 1

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"20240808", b"20240808-12:34", b"20241308-12:34:56",
            b"20240230-12:34:56", b"20240808-24:00:00", b"20240808-12:60:00",
            b"20240808-12:34:61", b"20240808-12:34:56.", b"00000808-12:34:56",
            b"20240808T12:34:56", b" 20240808-12:34:56", b"20240008-12:34:56",
        ],
    )  # fmt: skip
    def test_what_is_no_time_is_refused(self, text):
        with pytest.raises(ValueError, match=r"no time|no UTCTimestamp"):
            parse_timestamp(text)


class TestMessage:
    def test_the_first_of_duplicates_is_found(self):
        assert BOOK[269] == b"0"
        assert BOOK.get(270) == b"1.5"
        assert BOOK.all(269) == [b"0", b"1"]
        assert BOOK.all(1) == []

    def test_what_is_not_there_is_named(self):
        assert 55 not in BOOK
        assert BOOK.get(55) is None
        assert BOOK.get(55, b"?") == b"?"
        with pytest.raises(FieldMissing, match="no field 55 in the message of type X"):
            BOOK[55]
        with pytest.raises(KeyError):
            BOOK.text(55)

    def test_values_are_read_by_type(self):
        message = Message(
            [
                (35, b"D"), (34, b"12"), (44, b"-.5"), (58, "ü".encode()),
                (52, b"19700101-00:00:01"), (43, b"Y"), (97, b"N"),
            ]
        )  # fmt: skip

        assert message.type == "D"
        assert message.sequence == 12
        assert message.decimal(44) == Decimal("-0.5")
        assert message.text(58) == "ü"
        assert message.timestamp(52) == 10**9
        assert message.flag(43)
        assert not message.flag(97)
        assert not message.flag(1)

    @pytest.mark.parametrize(
        ("method", "value"),
        [
            ("integer", b"+1"), ("integer", b"1.0"), ("integer", b"9" * 19),
            ("decimal", b"1e5"), ("decimal", b"+1"), ("decimal", b"."),
            ("decimal", b"NaN"), ("text", b"\xff"), ("timestamp", b"now"),
        ],
    )  # fmt: skip
    def test_values_of_another_form_are_refused(self, method, value):
        with pytest.raises(BadValue) as caught:
            getattr(Message([(44, value)]), method)(44)

        assert caught.value.tag == 44

    def test_it_is_a_sequence_of_pairs(self):
        assert list(BOOK)[:1] == [(8, b"FIX.4.4")]
        assert len(BOOK) == 14
        assert Message(BOOK.fields) == BOOK
        assert Message(BOOK.fields[1:]) != BOOK
        assert BOOK != "X"
        assert [tag for tag, _ in BOOK.body][:2] == [268, 279]

    def test_its_text_shows_no_secrets(self):
        message = Message([(35, b"A"), (553, b"me"), (554, b"hush"), (96, b"sig")])

        assert str(message) == "35=A|553=me|554=***|96=***"
        assert "hush" not in repr(message)
        assert repr(message).startswith("<Message 35=A")


class TestGroups:
    def test_members_are_parted_at_their_first_field(self):
        first, second = BOOK.groups(268, first=279, members={279, 269, 270, 271})

        assert first.decimal(271) == 10
        assert second.fields == [(279, b"1"), (269, b"1"), (270, b"-0.25")]
        assert 271 not in second

    def test_without_members_the_last_one_runs_on_to_the_trailer(self):
        *_, last = BOOK.groups(268, first=279)

        assert last.text(58) == "tail"
        assert 10 not in last

    def test_no_group_and_an_empty_one_have_no_members(self):
        assert BOOK.groups(555, first=600) == []
        assert Message([(268, b"0"), (269, b"0")]).groups(268, first=269) == []

    @pytest.mark.parametrize(("stated", "found"), [(b"1", 2), (b"3", 2)])
    def test_a_wrong_count_is_refused(self, stated, found):
        fields = [(t, stated if t == 268 else v) for t, v in BOOK]
        with pytest.raises(GroupMismatch) as caught:
            Message(fields).groups(268, first=279)

        assert (caught.value.stated, caught.value.found) == (int(stated), found)

    def test_a_group_that_begins_with_another_field_is_refused(self):
        with pytest.raises(GroupMismatch):
            BOOK.groups(268, first=269)

    def test_groups_nest(self):
        message = Message(
            [
                (453, b"2"), (448, b"a"), (802, b"2"), (523, b"x"), (803, b"1"),
                (523, b"y"), (448, b"b"), (802, b"0"), (58, b"z"),
            ]
        )  # fmt: skip
        first, second = message.groups(453, first=448, members={448, 802, 523, 803})

        assert [g[523] for g in first.groups(802, first=523)] == [b"x", b"y"]
        assert second.groups(802, first=523) == []

    def test_a_missing_field_of_a_member_is_named(self):
        with pytest.raises(FieldMissing, match="a member of 1 fields"):
            Fields([(1, b"x")])[2]
