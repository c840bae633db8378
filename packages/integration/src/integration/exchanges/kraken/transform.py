"""Kraken v1's messages into events. Trades have no id on this wire."""

from collections.abc import Iterable

import msgspec

from integration.errors import Exchange
from integration.exchanges.kraken import channels, messages
from integration.exchanges.shared import level_of, side_of
from integration.fields import ns_from_decimal_s
from integration.market.connector import VenueTransformer
from integration.market.notices import (
    Ack,
    Heartbeat,
    Ignored,
    Info,
    Output,
    Pong,
    Refusal,
)
from integration.market.numbers import exact
from integration.models import (
    Candle,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    subscription_id,
)

__all__ = ["KrakenTransformer"]

_NS_PER_MINUTE = 60_000_000_000
_MS = 1_000_000


class KrakenTransformer(VenueTransformer[messages.Message]):
    """One connection to Kraken v1."""

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        if isinstance(message, messages.SystemEvent):
            return (_event(message),)
        # book-10 is a book; of ohlc-5 there may be others, ohlc-60, beside it.
        channel, _, detail = message.channel.partition("-")
        if channel == channels.OHLC:
            return self._candle(message, int(detail or 1), time_received)
        instrument = self.routes.get(channel, message.pair)
        if instrument is None:
            return self.unidentified(channel, message.pair)
        match channel:
            case channels.TRADE:
                return self._trades(message.parts[0], instrument, time_received)
            case channels.SPREAD:
                return self._spread(message.parts[0], instrument, time_received)
            case channels.BOOK:
                return self._book(message.parts, instrument, time_received)
            case _:
                return (Ignored(f"channel {message.channel}"),)

    def _trades(
        self, rows: object, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        return [
            MarketEvent(
                ns_from_decimal_s(t.time),
                now,
                self.exchange,
                instrument,
                PublicTrade(None, exact(t.price), exact(t.volume), side_of(t.side)),
            )
            for t in msgspec.convert(rows, list[messages.Trade])
        ]

    def _spread(
        self, row: object, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        s = msgspec.convert(row, messages.Spread)
        time = ns_from_decimal_s(s.time)
        bid, ask = level_of(s.bid, s.bid_volume), level_of(s.ask, s.ask_volume)
        top = OrderBookL1(time, bid, ask)
        return (MarketEvent(time, now, self.exchange, instrument, top),)

    def _candle(self, m: messages.Data, minutes: int, now: int) -> Iterable[Output]:
        instrument = self.routes.get(channels.candles(minutes), m.pair)
        if instrument is None:
            return self.unidentified(m.channel, m.pair)
        c = msgspec.convert(m.parts[0], messages.Candle)
        end = ns_from_decimal_s(c.end)
        candle = Candle(
            channels.INTERVALS[minutes],
            end - minutes * _NS_PER_MINUTE,
            end - _MS,
            exact(c.open),
            exact(c.high),
            exact(c.low),
            exact(c.close),
            exact(c.volume),
            c.count,
        )
        time = ns_from_decimal_s(c.time)
        return (MarketEvent(time, now, self.exchange, instrument, candle),)

    def _book(
        self, parts: list[object], instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        read = [msgspec.convert(part, messages.BookPart) for part in parts]
        image = any(p.as_ is not None or p.bs is not None for p in read)
        bids = [lvl for p in read for lvl in (p.bs if image else p.b) or ()]
        asks = [lvl for p in read for lvl in (p.as_ if image else p.a) or ()]
        sums = [int(p.c) for p in read if p.c is not None]
        checksum = sums[-1] if sums else None
        kind: OrderBookSnapshot | OrderBookUpdate
        if image:
            kind = OrderBookSnapshot(_pairs(bids), _pairs(asks), checksum=checksum)
        else:
            kind = OrderBookUpdate(_pairs(bids), _pairs(asks), checksum=checksum)
        times = (ns_from_decimal_s(lvl.time) for lvl in (*bids, *asks))
        time = max(times, default=now)
        return (MarketEvent(time, now, self.exchange, instrument, kind),)


def _pairs(levels: list[messages.Level]) -> list[RawLevel]:
    return [(level.price, level.volume) for level in levels]


def _event(m: messages.SystemEvent) -> Output:
    match m.event:
        case "heartbeat":
            return Heartbeat()
        case "pong":
            return Pong(None if m.reqid is None else str(m.reqid))
        case "systemStatus":
            return Info(status=m.status)
        case "subscriptionStatus":
            return _status(m)
        case "error":
            # Says nothing of what it is about: a complaint, not a refusal.
            error = Exchange(m.errorMessage)
            error.recoverable = True
            return Refusal(error)
        case _:
            return Ignored(f"event {m.event}")


def _status(m: messages.SystemEvent) -> Output:
    told = messages.NamedSubscription() if m.subscription is None else m.subscription
    candles = told.name == channels.OHLC
    name = channels.candles(told.interval) if candles else told.name
    topics = (subscription_id(name, m.pair),)
    match m.status:
        case "subscribed":
            return Ack(topics=topics)
        case "error":
            return Refusal(Exchange(m.errorMessage), topics=topics)
        case _:
            return Ignored(f"{topics[0]}: {m.status}")
