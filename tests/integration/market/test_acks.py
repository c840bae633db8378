import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Exchange
from integration.market.acks import AckLedger
from integration.market.connector import Outgoing, Topic
from integration.market.notices import Ack, Refusal

TRADES = [Topic("trades", f"M{i}") for i in range(4)]
BOOK = Topic("book", "M0")


def request(*topics, number=None):
    return Outgoing(payload=b"{}", topics=topics, request_id=number)


def ledger(*requests, expected=1, deadline=10.0):
    made = AckLedger()
    for each in requests:
        made.sent(each, expected=expected, deadline=deadline)
    return made


def test_an_empty_ledger_waits_for_nothing():
    empty = AckLedger()

    assert len(empty) == 0
    assert empty.deadline is None
    assert empty.expired(1e9) == []
    assert empty.acknowledge(Ack("1")) == []


def test_a_request_without_topics_is_not_waited_for():
    assert len(ledger(request())) == 0


def test_topics_that_are_named_are_confirmed_in_any_order():
    waiting = ledger(request(*TRADES), expected=4)

    assert waiting.acknowledge(Ack(topics=("trades|M2",))) == [TRADES[2]]
    assert waiting.acknowledge(Ack(topics=("trades|M2",))) == []
    assert waiting.acknowledge(Ack(topics=("trades|M0", "trades|M1", "x|y"))) == [
        TRADES[0],
        TRADES[1],
    ]
    assert len(waiting) == 1


def test_one_answer_to_a_numbered_request_confirms_all_its_topics():
    waiting = ledger(request(*TRADES[:2], number="1"), request(TRADES[2], number="2"))

    assert waiting.acknowledge(Ack("2")) == [TRADES[2]]
    assert waiting.acknowledge(Ack("7")) == []
    assert waiting.acknowledge(Ack("1")) == TRADES[:2]


def test_answers_that_name_nothing_count_for_the_oldest_request():
    waiting = ledger(request(*TRADES[:2]), request(TRADES[2]), expected=1)

    assert waiting.acknowledge(Ack()) == TRADES[:2]
    assert waiting.acknowledge(Ack("foreign")) == [TRADES[2]]


def test_one_answer_per_topic_is_counted():
    waiting = ledger(request(*TRADES[:3]), expected=3)

    assert waiting.acknowledge(Ack()) == [TRADES[0]]
    assert waiting.acknowledge(Ack()) == [TRADES[1]]
    assert waiting.acknowledge(Ack()) == [TRADES[2]]


def test_a_channel_alone_finds_the_oldest_request_of_that_channel():
    waiting = ledger(request(TRADES[0]), request(BOOK), request(TRADES[1]))

    assert waiting.acknowledge(Ack(channel="book")) == [BOOK]
    assert waiting.acknowledge(Ack(channel="trades")) == [TRADES[0]]
    assert waiting.acknowledge(Ack(channel="gossip")) == []


def test_a_refusal_settles_what_it_is_about():
    error = Exchange("no")
    waiting = ledger(request(*TRADES[:2], number="1"), expected=2)

    assert waiting.refuse(Refusal(error, topics=("trades|M1",))) == [TRADES[1]]
    assert waiting.refuse(Refusal(error, "1")) == [TRADES[0]]
    assert waiting.refuse(Refusal(error)) == []


def test_the_deadline_is_that_of_the_oldest_and_passes_once():
    waiting = ledger(request(TRADES[0]), deadline=5.0)
    waiting.sent(request(TRADES[1]), expected=1, deadline=9.0)

    assert waiting.deadline == 5.0
    assert waiting.expired(4.9) == []
    assert waiting.expired(5.0) == [TRADES[0]]
    assert waiting.expired(6.0) == []
    assert waiting.deadline == 9.0


def test_topics_that_were_left_are_forgotten():
    waiting = ledger(request(*TRADES[:2]))

    waiting.forget(["trades|M0", "trades|M1"])

    assert len(waiting) == 0
    assert waiting.deadline is None


@given(st.permutations(range(4)), st.sampled_from(["topics", "ids", "order"]))
def test_whatever_the_order_every_topic_is_confirmed_exactly_once(order, how):
    waiting = AckLedger()
    for i, topic in enumerate(TRADES):
        number = str(i) if how == "ids" else None
        waiting.sent(request(topic, number=number), expected=1, deadline=1.0)
    confirmed = []
    for i in order:
        ack = {
            "topics": Ack(topics=(TRADES[i].id,)),
            "ids": Ack(str(i)),
            "order": Ack(),
        }[how]
        confirmed += waiting.acknowledge(ack)

    assert sorted(t.market for t in confirmed) == [t.market for t in TRADES]
    assert len(waiting) == 0


@pytest.mark.parametrize("size", [1, 3])
def test_a_topic_knows_its_id(size):
    assert Topic("c" * size, "M").id == f"{'c' * size}|M"
