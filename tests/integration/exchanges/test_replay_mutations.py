"""Recorded sessions with one message lost, doubled or moved.

Where the venue numbers its updates, or sends checksums, the book must notice, say so,
and stay stale until it is given a new image.
"""

import random

import pytest

from integration.market.books import BookState
from integration.market.reports import BookStale
from integration.models import ExchangeId

# Session, and whether a loss can be noticed at all.
SESSIONS = {
    "binance_spot_blzeth": "binance_spot",
    "binance_spot_nknusdt": "binance_spot",
    "binance_futures_akrousdt": "binance_futures_usd",
    "gateio_spot_hai_eth": "gateio_spot",
    "gateio_spot_neo_btc": "gateio_spot",
    "gateio_futures_quick_usdt": "gateio_perpetuals_usd",
    "deribit_btc-24sep21-8000-p": "deribit",
    "kraken_ocean_xbt": "kraken",
    "okx_btc-usdt": "okx",
}
REPLAYS = tuple(SESSIONS)


@pytest.fixture
def player(make_venue, session, replay):
    return make_venue(ExchangeId(SESSIONS[replay.stem])), session


def vouched(message):
    """What the venue's checksum says after a message; None where it sends none."""
    raw = message["raw"]
    if isinstance(raw, list):
        return next((p["c"] for p in raw if isinstance(p, dict) and "c" in p), None)
    return (raw.get("data") or [{}])[0].get("checksum") if "arg" in raw else None


def applied(session):
    """Indices of updates with a neighbour on either side, that a checksum covers.

    Checksums cover the top of a book only: a change below it passes unseen.
    """
    messages = session["messages"]
    found = [i for i, m in enumerate(messages) if m["expect"] == "apply"][1:-2]
    around = {i: [vouched(messages[j]) for j in (i - 1, i, i + 1)] for i in found}
    # Nor is it missed if the next message takes it back.
    return [i for i in found if around[i][1] is None or len(set(around[i])) == 3]


def chosen(session, count=6):
    candidates = applied(session)
    return random.Random(7).sample(candidates, min(count, len(candidates)))  # noqa: S311  a fixed choice of positions


def test_a_lost_message_is_noticed_and_the_book_is_stale(player):
    venue, session = player
    for i in chosen(session):
        messages = [m for j, m in enumerate(session["messages"]) if j != i]

        outcomes, reports, manager = venue.play(session, messages)

        assert "gap" in outcomes or any(isinstance(r, BookStale) for r in reports), i
        assert manager.book.state is not BookState.LIVE


def test_no_update_is_passed_on_after_a_loss(player):
    venue, session = player
    (i, *_) = chosen(session)
    messages = [m for j, m in enumerate(session["messages"]) if j != i]

    _, reports, _ = venue.play(session, messages)

    (at,) = [k for k, r in enumerate(reports) if isinstance(r, BookStale)]
    assert reports[at + 1 :] == []


def test_messages_that_swap_places_are_noticed(player):
    venue, session = player
    for i in chosen(session, 4):
        messages = list(session["messages"])
        messages[i], messages[i + 1] = messages[i + 1], messages[i]

        outcomes, reports, _ = venue.play(session, messages)

        assert "gap" in outcomes or any(isinstance(r, BookStale) for r in reports), i


def test_a_doubled_message_harms_nothing_or_is_noticed(player):
    venue, session = player
    expected = session["final"]
    for i in chosen(session, 4):
        messages = list(session["messages"])
        messages.insert(i, messages[i])

        _, reports, manager = venue.play(session, messages)

        book = manager.book
        if any(isinstance(r, BookStale) for r in reports):
            assert book.state is not BookState.LIVE
        else:
            assert book.sequence == expected["sequence"]
            assert (book.bid_count, book.ask_count) == (
                expected["bid_levels"],
                expected["ask_levels"],
            )


def test_a_new_image_heals_the_book(player):
    venue, session = player
    if venue.connector.rule.images != "http":
        pytest.skip("its images come on the stream")
    (i, *_) = chosen(session)
    (image,) = [m for m in session["messages"] if m["transport"] == "http"]
    messages = [m for j, m in enumerate(session["messages"]) if j != i]

    _, _reports, manager = venue.play(session, [*messages, image])

    # The recorded image is older than the gap: it cannot be joined to what waits.
    assert manager.last_outcome == "refetch"
    assert manager.wants_image
    assert manager.book.state is not BookState.LIVE
