"""Kraken v2's messages into events.

Book levels are spelled with the pair's precision as soon as the `instrument` channel
has told it: checksums are computed over that spelling, and the wire drops zeros.
"""

from collections.abc import Iterable
from decimal import Decimal

from integration.errors import Exchange
from integration.exchanges.kraken_v2 import channels, messages
from integration.exchanges.shared import level, side_of
from integration.fields import ns_from_iso
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import (
    Ack,
    Heartbeat,
    Ignored,
    Info,
    Output,
    Pong,
    Refusal,
)
from integration.market.numbers import plain
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
    SubscriptionId,
    TradeFlag,
    subscription_id,
)

__all__ = ["KrakenV2Transformer"]

_NS_PER_MINUTE = 60_000_000_000
_MS = 1_000_000


class KrakenV2Transformer(VenueTransformer[messages.Message]):
    """One connection to Kraken v2."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._precision: dict[str, tuple[int, int]] = {}

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        match message:
            case messages.Book():
                return [self._book(message, b, time_received) for b in message.data]
            case messages.Trades():
                return [self._trade(message, t, time_received) for t in message.data]
            case messages.Ticker():
                return [self._quote(q, time_received) for q in message.data]
            case messages.Ohlc():
                return [self._candle(c, time_received) for c in message.data]
            case messages.Heartbeat():
                return (Heartbeat(),)
            case messages.Status():
                return [Info(status=each.system) for each in message.data]
            case messages.Instruments():
                for pair in message.data.pairs:
                    precision = (pair.price_precision, pair.qty_precision)
                    self._precision[pair.symbol] = precision
                return (Ignored("reference data"),)
            case messages.Answer():
                return (_answer(message),)

    def _event(
        self, channel: str, symbol: str, time: int, now: int, kind: DataKind
    ) -> Output:
        instrument = self.routes.get(channel, symbol)
        if instrument is None:
            return self.unidentified(channel, symbol)[0]
        return MarketEvent(time, now, self.exchange, instrument, kind)

    def _trade(self, m: messages.Trades, t: messages.Trade, now: int) -> Output:
        old = m.type == "snapshot"
        plain(t.price)
        plain(t.qty)
        trade = PublicTrade(
            str(t.trade_id),
            t.price,
            t.qty,
            side_of(t.side),
            flags=TradeFlag.BACKFILL if old else TradeFlag.NONE,
        )
        time = ns_from_iso(t.timestamp)
        return self._event(channels.TRADE, t.symbol, time, now, trade)

    def _quote(self, q: messages.Quote, now: int) -> Output:
        time = now if q.timestamp is None else ns_from_iso(q.timestamp)
        top = OrderBookL1(time, level(q.bid, q.bid_qty), level(q.ask, q.ask_qty))
        return self._event(channels.TICKER, q.symbol, time, now, top)

    def _book(self, m: messages.Book, b: messages.BookData, now: int) -> Output:
        precision = self._precision.get(b.symbol)
        bids, asks = _spelled(b.bids, precision), _spelled(b.asks, precision)
        image = m.type == "snapshot"
        make = OrderBookSnapshot if image else OrderBookUpdate
        kind = make(bids, asks, checksum=b.checksum)
        time = now if b.timestamp is None else ns_from_iso(b.timestamp)
        return self._event(channels.BOOK, b.symbol, time, now, kind)

    def _candle(self, c: messages.Candle, now: int) -> Output:
        begin = ns_from_iso(c.interval_begin)
        candle = Candle(
            channels.INTERVALS.get(c.interval, f"{c.interval}m"),
            begin,
            begin + c.interval * _NS_PER_MINUTE - _MS,
            c.open,
            c.high,
            c.low,
            c.close,
            c.volume,
            c.trades,
        )
        return self._event(channels.candles(c.interval), c.symbol, now, now, candle)


def _spelled(
    levels: list[messages.Level], precision: tuple[int, int] | None
) -> list[RawLevel]:
    if precision is None:
        return [(plain(each.price), plain(each.qty)) for each in levels]
    price, qty = precision
    return [(_fixed(each.price, price), _fixed(each.qty, qty)) for each in levels]


def _fixed(value: Decimal, decimals: int) -> str:
    """Spell a number with at least so many decimals, never rounding one away."""
    text = plain(value)
    fraction = text.partition(".")[2]
    return text if len(fraction) >= decimals else format(value, f".{decimals}f")


def _answer(m: messages.Answer) -> Output:
    request_id = None if m.req_id is None else str(m.req_id)
    if m.method == "pong":
        return Pong(request_id)
    topics: tuple[SubscriptionId, ...] = ()
    if m.result is not None and m.result.symbol:
        told = m.result
        candles = told.channel == channels.OHLC
        channel = channels.candles(told.interval) if candles else told.channel
        topics = (subscription_id(channel, told.symbol),)
    if not m.success:
        return Refusal(Exchange(m.error), request_id, topics)
    if m.method == "subscribe" and topics:
        return Ack(request_id, topics)
    return Ignored(f"the answer to {m.method}")
