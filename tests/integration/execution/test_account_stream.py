"""The stream over a scripted venue: what only contracts, or odd answers, bring up."""

from decimal import Decimal

import pytest
import trio

from integration.errors import Exchange, GaveUp, Unauthorised, WebSocket
from integration.execution import (
    AccountEvent,
    AccountSnapshot,
    PositionSnapshot,
    StreamReconciled,
    TradeEvent,
)
from integration.execution.instrument_map import InstrumentMap
from integration.execution.live import LiveClient
from integration.execution.models import Position
from integration.models import ExchangeId
from integration.stream.reconnect import Backoff, Jitter, ReconnectPolicy

EXCHANGE = ExchangeId.BINANCE_SPOT
HOUR = 3600 * 10**9


class Connection:
    """A private stream that delivers batches; an error ends it."""

    def __init__(self, *batches):
        self._batches = list(batches)
        self.closed = False

    async def next_batch(self):
        if not self._batches:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        batch = self._batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return batch

    async def aclose(self):
        self.closed = True
        await trio.lowlevel.checkpoint()


class Venue:
    """A `VenueApi` whose answers are written down."""

    recv_window = 5.0
    keep_alive_interval = None
    stream_policy = ReconnectPolicy(
        backoff=Backoff(0.1, jitter=Jitter.NONE), max_attempts=3
    )

    def __init__(self, instruments, *connections):
        self.instruments = InstrumentMap(EXCHANGE, instruments)
        self.connections = list(connections)
        self.held = []
        self.fills = []
        self.asked = []
        self.fault = None
        self.now = 10 * HOUR

    def now_ns(self):
        return self.now

    async def balances(self):
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return []

    async def positions(self):
        return list(self.held)

    async def open_orders(self, instruments):
        assert instruments is None
        return []

    async def trades(self, name, since):
        self.asked.append((name, since))
        return [t for t in self.fills if t.time_exchange >= since]

    async def connect_stream(self):
        return self.connections.pop(0)


def position(name, quantity):
    return Position(instrument=name, quantity=Decimal(quantity))


def lost():
    return WebSocket("lost")


async def collect(stream, kind):
    events = []
    while not any(isinstance(e.kind, kind) for e in events):
        events += await stream.next_batch()
    return events


async def test_a_position_closed_while_away_is_told_as_nothing(kit, autojump_clock):
    venue = Venue([kit.spot()], Connection(lost()), Connection())
    client = LiveClient(venue)
    stream = client.account_stream()
    venue.held = [position(kit.name, "2")]
    # What the stream says of it first.
    first = await anext(stream)
    assert first.kind.positions == (position(kit.name, "2"),)

    venue.held = []
    events = await collect(stream, StreamReconciled)

    (told,) = [e.kind.position for e in events if isinstance(e.kind, PositionSnapshot)]
    assert (told.instrument, told.quantity) == (kit.name, 0)
    assert (kit.name, venue.now) in venue.asked, "its fills were asked for"


async def test_fills_are_asked_for_from_a_minute_before_the_last(kit, autojump_clock):
    fill = kit.trade(1, time=12 * HOUR)
    told = AccountEvent(EXCHANGE, 12 * HOUR, TradeEvent(fill))
    late = kit.trade(2, time=12 * HOUR - 30 * 10**9)
    venue = Venue([kit.spot()], Connection([told], lost()), Connection())
    stream = LiveClient(venue).account_stream()

    events = await collect(stream, TradeEvent)
    venue.fills = [late, fill]
    events = await collect(stream, StreamReconciled)

    assert venue.asked[-1] == (kit.name, 12 * HOUR - 60 * 10**9)
    assert [e.kind.trade.id for e in events if isinstance(e.kind, TradeEvent)] == ["2"]


async def test_a_question_that_can_be_asked_again_is(kit, autojump_clock):
    venue = Venue([kit.spot()], Connection())
    venue.fault = WebSocket("not now")

    began = trio.current_time()
    first = await anext(LiveClient(venue).account_stream())

    assert isinstance(first.kind, AccountSnapshot)
    assert trio.current_time() > began, "it is not asked in a loop"


@pytest.mark.parametrize("fault", [Unauthorised("no"), Exchange("never")])
async def test_a_question_that_will_never_be_answered_ends_it(
    kit, autojump_clock, fault
):
    venue = Venue([kit.spot()], Connection())
    venue.fault = fault

    with pytest.raises(type(fault)):
        await LiveClient(venue).account_stream().next_batch()


async def test_giving_up_is_said_with_its_reason(kit, autojump_clock):
    venue = Venue([kit.spot()])

    async def refuse():
        raise WebSocket("refused")

    venue.connect_stream = refuse

    with pytest.raises(GaveUp, match="refused"):
        await LiveClient(venue).account_stream().next_batch()


async def test_closing_the_stream_closes_the_connection(kit):
    connection = Connection()
    venue = Venue([kit.spot()], connection)

    async with LiveClient(venue).account_stream() as stream:
        await anext(stream)

    assert connection.closed
