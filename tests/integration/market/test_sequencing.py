import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market.books import BookState
from integration.market.sequencing import (
    COUNTER,
    ID_RANGE,
    IMAGES_ONLY,
    PREVIOUS_ID,
    PREVIOUS_SEQUENCE,
    RULES,
    TIME_ORDER,
    UNNUMBERED,
    BookSequencer,
    ConnectionCounter,
    Outcome,
    rule_for,
)
from integration.models import ExchangeId, OrderBookSnapshot, OrderBookUpdate

SEQUENCES = Path(__file__).resolve().parents[3] / "../shared/data/wire/sequences.json"

# The cases name a venue's family where several servers share one rule.
FAMILIES = {"bybit": ExchangeId.BYBIT_SPOT, "any": ExchangeId.BYBIT_SPOT}


def cases():
    if not SEQUENCES.exists():
        return []
    return json.loads(SEQUENCES.read_bytes())["sequencing"]


def update(first=None, last=None, previous=None):
    return OrderBookUpdate(
        [], [], sequence=last, first_sequence=first, prev_sequence=previous
    )


def image(sequence):
    return OrderBookSnapshot([], [], sequence=sequence)


def played(sequencer, step):
    """Play one step; return (outcome, what was drained)."""
    if step["op"] == "disconnect":
        sequencer.invalidate()
        return "stale", []
    if step["op"] == "snapshot":
        decision = sequencer.on_snapshot(image(step["sequence"]))
        return decision.outcome, [drained.outcome for drained in decision.drain]
    outcome = sequencer.on_update(
        update(
            step.get("U"),
            step.get("u", step.get("seq")),
            step.get("pu", step.get("prev")),
        )
    )
    # What the sequencer cannot see is reported to it: checksums, unknown level ids.
    if step.get("checksum_ok") is False or step.get("id") == 999:
        sequencer.invalidate()
        outcome = Outcome.GAP
    return outcome, []


def test_the_published_sequencing_cases_are_there():
    if not SEQUENCES.exists():
        pytest.skip(f"{SEQUENCES} absent")
    assert len(cases()) >= 37


@pytest.mark.parametrize(
    "case",
    [c for c in cases() if c["steps"][0]["op"] != "message"],
    ids=lambda case: f"{case['exchange']}: {case['name']}",
)
def test_published_sequencing_case(case):
    exchange = FAMILIES.get(case["exchange"]) or ExchangeId(case["exchange"])
    sequencer = BookSequencer(rule_for(exchange))

    for i, step in enumerate(case["steps"]):
        outcome, drained = played(sequencer, step)
        assert (i, outcome, sequencer.state) == (i, step["expect"], step["state"])
        assert drained == step.get("drain", [])
        if "last_after" in step:
            assert sequencer.last == step["last_after"]


@pytest.mark.parametrize(
    "case",
    [c for c in cases() if c["steps"][0]["op"] == "message"],
    ids=lambda case: f"{case['exchange']}: {case['name']}",
)
def test_published_connection_counter_case(case):
    counter = ConnectionCounter()

    assert [counter.check(step["sequence"]) for step in case["steps"]] == [
        step["expect"] for step in case["steps"]
    ]


def test_counting_goes_on_after_a_gap():
    counter = ConnectionCounter()

    assert [counter.check(n) for n in (7, 8, 10, 11)] == ["ok", "ok", "gap", "ok"]


def test_every_venue_that_keeps_books_has_a_rule():
    assert {ExchangeId.OKX, ExchangeId.KRAKEN_V2, ExchangeId.HYPERLIQUID} <= set(RULES)
    with pytest.raises(KeyError):
        rule_for(ExchangeId.MOCK)


def test_the_gapping_update_is_the_first_of_the_new_buffer():
    sequencer = BookSequencer(ID_RANGE)
    sequencer.on_snapshot(image(100))

    assert sequencer.on_update(update(105, 110), "gapping") is Outcome.GAP
    assert (sequencer.buffered, sequencer.expected, sequencer.last) == (1, 101, None)
    decision = sequencer.on_snapshot(image(106))

    assert [(d.outcome, d.context) for d in decision.drain] == [
        (Outcome.APPLY, "gapping")
    ]
    assert sequencer.last == 110


def test_a_hole_inside_the_buffer_is_a_gap_when_it_is_drained():
    sequencer = BookSequencer(ID_RANGE)
    for first, last in ((101, 105), (106, 110), (115, 120), (121, 125)):
        sequencer.on_update(update(first, last))

    decision = sequencer.on_snapshot(image(100))

    assert [d.outcome for d in decision.drain] == ["apply", "apply", "gap"]
    assert sequencer.state is BookState.STALE
    assert sequencer.buffered == 2
    again = sequencer.on_snapshot(image(121))
    assert [d.outcome for d in again.drain] == ["drop", "apply"]
    assert (sequencer.state, sequencer.last) == (BookState.LIVE, 125)


def test_a_full_buffer_starts_anew_with_the_newest_update():
    sequencer = BookSequencer(ID_RANGE, buffer_limit=2)

    outcomes = [sequencer.on_update(update(n, n)) for n in range(1, 6)]

    assert outcomes == ["buffer", "buffer", "overflow", "buffer", "overflow"]
    assert sequencer.buffered == 1
    assert sequencer.on_snapshot(image(2)).outcome is Outcome.REFETCH
    assert sequencer.on_snapshot(image(4)).outcome is Outcome.SNAPSHOT
    assert sequencer.last == 5


def test_a_buffer_holds_at_least_one_update():
    with pytest.raises(ValueError, match="at least one"):
        BookSequencer(ID_RANGE, buffer_limit=0)


def test_an_update_without_the_ids_its_rule_needs_follows_nothing():
    for rule in (ID_RANGE, PREVIOUS_ID, COUNTER, PREVIOUS_SEQUENCE):
        sequencer = BookSequencer(rule)
        sequencer.on_snapshot(image(1))
        assert sequencer.on_update(update()) in {Outcome.GAP, Outcome.DROP}, rule


def test_time_going_backwards_after_the_first_update_is_a_gap():
    sequencer = BookSequencer(TIME_ORDER)
    sequencer.on_snapshot(image(1000))

    assert sequencer.on_update(update(last=999)) is Outcome.DROP
    assert sequencer.on_update(update(last=1002)) is Outcome.APPLY
    assert sequencer.on_update(update(last=1002)) is Outcome.DROP
    assert sequencer.on_update(update(last=1001)) is Outcome.GAP


def test_a_venue_of_images_applies_no_update():
    sequencer = BookSequencer(IMAGES_ONLY)

    assert sequencer.on_snapshot(image(None)).outcome is Outcome.SNAPSHOT
    assert sequencer.on_snapshot(image(None)).outcome is Outcome.SNAPSHOT


def test_an_unsequenced_feed_of_a_sequenced_venue_is_applied():
    # OKX before it numbered its books: the checksum guards.
    sequencer = BookSequencer(PREVIOUS_SEQUENCE)
    sequencer.on_snapshot(image(None))

    assert sequencer.on_update(update()) is Outcome.APPLY


def test_the_repr_says_where_the_machine_stands():
    sequencer = BookSequencer(UNNUMBERED)

    assert repr(sequencer) == (
        "BookSequencer(unnumbered, syncing, last=None, buffered=0)"
    )


@st.composite
def feeds(draw):
    """Contiguous id ranges, the image's position, and one mutation."""
    widths = draw(st.lists(st.integers(1, 3), min_size=4, max_size=12))
    updates, start = [], 1
    for width in widths:
        updates.append((start, start + width - 1))
        start += width
    return updates, draw(st.integers(0, len(widths) - 1))


def run(rule, updates, at):
    """Feed all updates; fetch an image, true at that moment, whenever it is needed.

    Returns the ids that the resulting book holds, and whether it is live.
    """
    sequencer = BookSequencer(rule)
    held = 0
    for i, (first, last, previous) in enumerate(updates):
        outcome = sequencer.on_update(update(first, last, previous))
        if outcome is Outcome.APPLY:
            held = last
        if i >= at and sequencer.state is not BookState.LIVE:
            newest = max(u[1] for u in updates[: i + 1])
            decision = sequencer.on_snapshot(image(newest))
            if decision.outcome is Outcome.SNAPSHOT:
                held = sequencer.last
    return held, sequencer.state


@given(feeds(), st.sampled_from([ID_RANGE, PREVIOUS_ID]), st.data())
def test_no_loss_duplicate_or_exchange_of_messages_goes_unnoticed(feed, rule, data):
    updates, at = feed
    chained = [
        (first, last, updates[i - 1][1] if i else 0)
        for i, (first, last) in enumerate(updates)
    ]
    i = data.draw(st.integers(0, len(chained) - 2))
    kind = data.draw(st.sampled_from(["none", "drop", "duplicate", "exchange"]))
    if kind == "drop":
        del chained[i]
    elif kind == "duplicate":
        chained.insert(i, chained[i])
    elif kind == "exchange":
        chained[i], chained[i + 1] = chained[i + 1], chained[i]
    # An image is fetched as soon as one is needed, so the book ends as the venue's,
    # unless the last message itself revealed the loss.
    held, state = run(rule, chained, at)

    if state is BookState.LIVE:
        assert held == max(last for _, last, _ in chained)


def test_an_update_that_names_the_image_as_the_one_before_it_follows_it():
    sequencer = BookSequencer(PREVIOUS_ID)
    sequencer.on_snapshot(image(947))
    follows = update(948, 974, 947)

    assert sequencer.joins(follows)
    assert sequencer.on_update(follows) is Outcome.APPLY


def test_an_update_beyond_the_image_that_names_another_one_before_it_does_not():
    sequencer = BookSequencer(PREVIOUS_ID)
    sequencer.on_snapshot(image(947))

    assert sequencer.on_update(update(949, 974, 948)) is Outcome.GAP
