"""A recording of two lines is played as the one stream that its consumer saw."""

import trio

from integration.market.config import StreamConfig
from integration.market.reports import Reconnecting, StreamError
from integration.market.turns import LineLost
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)
from integration.recording import RecordingFolder, open_recording
from integration.replay import replay_session
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import Disconnect, Gap

SPOT = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
STEP = 100_000_000
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))


def of(events, kind):
    found = [event for event in events if isinstance(event, MarketEvent)]
    return [event.kind for event in found if isinstance(event.kind, kind)]


async def record(folder, sims):
    """Record while each line has a gap and an outage; return what was seen."""
    seen = []
    config = StreamConfig(
        websocket_url={SPOT: sims[0].websocket_url},
        line_url={SPOT: (sims[1].websocket_url,)},
        rest_url={SPOT: sims[0].rest_url},
        lines=2,
        reconnect=QUICK,
        silence=None,
    )
    wanted = [Subscription(SPOT, BTC, kind) for kind in KINDS]
    async with open_recording(folder, wanted, config=config) as recording:
        streams = recording.streams

        async def until(done):
            while not done():
                for sim in sims:
                    await sim.advance(sim.time_ns + STEP)
                with trio.move_on_after(0.02):
                    while True:
                        seen.extend(await streams.next_batch())

        def both():
            return all(status.live_books == 1 for status in streams.connections)

        await until(both)
        for sim in sims:
            for fault in (Gap(symbol="BTCUSDT"), Disconnect()):
                stale = sum(line.stale for line in streams.lines)
                await sim.inject(fault)
                await until(
                    lambda stale=stale: sum(s.stale for s in streams.lines) > stale
                )
                await until(both)
        while streams.books[SPOT, BTC].sequence != sims[0].sequence("BTCUSDT"):
            seen.extend(await streams.next_batch())
        final = streams.books[SPOT, BTC].snapshot()
    return seen, final


async def test_a_recording_of_two_lines_is_played_as_one_stream(tmp_path):
    with trio.fail_after(120):
        async with (
            SimulatedExchange(SyntheticMarket(7)) as first,
            SimulatedExchange(SyntheticMarket(7)) as second,
        ):
            seen, final = await record(tmp_path / "run", [first, second])

    names = ("binance_spot#0", "binance_spot#1")
    folder = RecordingFolder(tmp_path / "run")
    assert folder.manifest.redundant == (names,)
    replay = replay_session(folder)
    played = [event for moment in replay for event in moment.events]

    trades = sorted(int(trade.id) for trade in of(played, PublicTrade))
    assert trades == list(range(trades[0], trades[0] + len(trades)))
    assert {int(trade.id) for trade in of(seen, PublicTrade)} <= set(trades)
    updates = [u.sequence for u in of(played, OrderBookUpdate)]
    assert updates == sorted(set(updates))
    # The last may be the image of a line that resynced.
    books = of(played, OrderBookUpdate | OrderBookSnapshot)
    assert books[-1].sequence == final.sequence
    assert replay.books[SPOT, str(BTC)].snapshot() == final
    faults = [event.error for event in played if isinstance(event, StreamError)]
    assert [type(fault) for fault in faults] == [LineLost] * 2
    assert [event for event in played if isinstance(event, Reconnecting)] == []
    assert replay.report.outages == 0
    assert replay.report.resynced == 0
