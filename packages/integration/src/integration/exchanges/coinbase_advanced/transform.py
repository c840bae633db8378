"""Coinbase Advanced's messages into events.

`sequence_num` counts the messages of the connection, whatever their channel: a hole
says that something was lost, not what, so every book is in doubt. The side of a trade
is the maker's by the documentation and is turned round.
"""

from collections.abc import Iterable

from integration.errors import Exchange
from integration.exchanges.coinbase_advanced import channels, messages
from integration.exchanges.shared import level_of, side_of
from integration.fields import ns_from_iso
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import (
    Ack,
    ConnectionGap,
    Heartbeat,
    Ignored,
    Output,
    Refusal,
)
from integration.market.numbers import exact
from integration.market.sequencing import ConnectionCounter, Outcome
from integration.models import (
    Candle,
    DataKind,
    ExchangeId,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    subscription_id,
)

__all__ = ["CoinbaseAdvancedTransformer"]

_FIVE_MINUTES = 300 * 10**9
_MS = 1_000_000


class CoinbaseAdvancedTransformer(VenueTransformer[messages.Message]):
    """One connection to Coinbase Advanced."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._counter = ConnectionCounter()

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        if isinstance(message, messages.Fault):
            return (Refusal(Exchange(message.message)),)
        last = self._counter.last
        outputs: list[Output] = []
        if self._counter.check(message.sequence_num) is Outcome.GAP:
            assert last is not None, "a first number has no gap before it"  # noqa: S101  narrows the type
            outputs.append(ConnectionGap(last + 1, message.sequence_num))
        outputs.extend(self._events(message, time_received))
        return outputs

    def _events(self, m: messages.Data, now: int) -> Iterable[Output]:
        match m:
            case messages.L2Data():
                return [self._book(m, event, now) for event in m.events]
            case messages.MarketTrades():
                return self._trades(m, now)
            case messages.Tickers():
                tickers = [t for event in m.events for t in event.tickers]
                return [self._ticker(m, t, now) for t in tickers]
            case messages.Candles():
                candles = [c for event in m.events for c in event.candles]
                return [self._candle(c, now) for c in candles]
            case messages.Heartbeats():
                return (Heartbeat(sequence=m.sequence_num),)
            case messages.Subscriptions():
                return (_ack(m),)

    def _event(
        self, channel: str, product: str, time: int, now: int, kind: DataKind
    ) -> Output:
        instrument = self.routes.get(channel, product)
        if instrument is None:
            return self.unidentified(channel, product)[0]
        return MarketEvent(time, now, self.exchange, instrument, kind)

    def _book(self, m: messages.L2Data, event: messages.BookEvent, now: int) -> Output:
        bids: list[RawLevel] = []
        asks: list[RawLevel] = []
        for change in event.updates:
            levels = bids if change.side == "bid" else asks
            levels.append((change.price_level, change.new_quantity))
        image = event.type == "snapshot"
        make = OrderBookSnapshot if image else OrderBookUpdate
        kind = make(bids, asks, sequence=m.sequence_num)
        time = ns_from_iso(m.timestamp)
        return self._event(channels.BOOK, event.product_id, time, now, kind)

    def _trades(self, m: messages.MarketTrades, now: int) -> Iterable[Output]:
        outputs: list[Output] = []
        for event in m.events:
            if event.type == "snapshot":
                outputs.append(Ignored("trades from before the subscription"))
                continue
            for t in event.trades:
                taker = side_of(t.side).opposite()
                trade = PublicTrade(t.trade_id, exact(t.price), exact(t.size), taker)
                time = ns_from_iso(t.time)
                outputs.append(
                    self._event(channels.TRADE, t.product_id, time, now, trade)
                )
        return outputs

    def _ticker(self, m: messages.Tickers, t: messages.Ticker, now: int) -> Output:
        time = ns_from_iso(m.timestamp)
        bid = level_of(t.best_bid, t.best_bid_quantity)
        ask = level_of(t.best_ask, t.best_ask_quantity)
        top = OrderBookL1(time, bid, ask, m.sequence_num)
        return self._event(channels.TICKER, t.product_id, time, now, top)

    def _candle(self, c: messages.Candle, now: int) -> Output:
        begin = int(c.start) * 10**9
        candle = Candle(
            channels.INTERVAL,
            begin,
            begin + _FIVE_MINUTES - _MS,
            exact(c.open),
            exact(c.high),
            exact(c.low),
            exact(c.close),
            exact(c.volume),
        )
        return self._event(channels.CANDLES, c.product_id, now, now, candle)


def _ack(m: messages.Subscriptions) -> Ack:
    return Ack(
        topics=tuple(
            subscription_id(channel, product)
            for event in m.events
            for channel, products in event.subscriptions.items()
            for product in products
        )
    )
