"""Hyperliquid's messages into events. What it calls the oracle's price is the index."""

from collections.abc import Iterable

from integration.errors import Exchange
from integration.exchanges.hyperliquid import channels, messages
from integration.exchanges.shared import level_of, side_of, told
from integration.market.connector import VenueTransformer
from integration.market.notices import Ack, Ignored, Output, Pong, Refusal
from integration.market.numbers import exact, plain
from integration.models import (
    Candle,
    DataKind,
    FundingRate,
    IndexPrice,
    Level,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    PublicTrade,
    SubKind,
    subscription_id,
)

__all__ = ["HyperliquidTransformer"]

_MS = 1_000_000


class HyperliquidTransformer(VenueTransformer[messages.Message]):
    """One connection to Hyperliquid."""

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        match message:
            case messages.Book(data=data):
                bids, asks = ([(x.px, x.sz) for x in side] for side in data.levels)
                image = OrderBookSnapshot(bids, asks)
                return self._event(
                    channels.BOOK, data.coin, data.time, time_received, image
                )
            case messages.Trades(data=trades):
                return [out for t in trades for out in self._trade(t, time_received)]
            case messages.Bbo(data=data):
                bid, ask = (_level(side) for side in data.bbo)
                top = OrderBookL1(data.time * _MS, bid, ask)
                return self._event(
                    channels.TOP, data.coin, data.time, time_received, top
                )
            case messages.Candle(data=data):
                return self._candle(data, time_received)
            case messages.Context(data=data):
                facts, now = _facts(data.ctx), time_received
                return told(self, channels.CONTEXT, data.coin, facts, times=(now, now))
            case messages.Response(data=data):
                return (_answer(data),)
            case messages.Pong():
                return (Pong(),)
            case messages.Fault(data=text):
                return (Refusal(Exchange(text)),)

    def _trade(self, t: messages.Trade, now: int) -> Iterable[Output]:
        trade = PublicTrade(str(t.tid), exact(t.px), exact(t.sz), side_of(t.side))
        return self._event(channels.TRADE, t.coin, t.time, now, trade)

    def _candle(self, c: messages.CandleData, now: int) -> Iterable[Output]:
        for number in (c.o, c.h, c.l, c.c, c.v):
            plain(number)
        candle = Candle(
            *(c.i, c.t * _MS, c.T * _MS, c.o, c.h, c.l, c.c, c.v), trade_count=c.n
        )
        channel = f"{channels.CANDLE}.{c.i}"
        return self._event(channel, c.s, now // _MS, now, candle)

    def _event(
        self, channel: str, coin: str, time_ms: int, now: int, kind: DataKind
    ) -> Iterable[Output]:
        instrument = self.routes.get(channel, coin)
        if instrument is None:
            return self.unidentified(channel, coin)
        return (MarketEvent(time_ms * _MS, now, self.exchange, instrument, kind),)


def _level(level: messages.Level | None) -> Level | None:
    return None if level is None else level_of(level.px, level.sz)


def _facts(c: messages.ContextValues) -> list[tuple[SubKind, DataKind]]:
    for number in (c.markPx, c.oraclePx, c.openInterest, abs(c.funding)):
        plain(number)
    return [
        (SubKind.FUNDING_RATES, FundingRate(c.funding, None, c.markPx, c.oraclePx)),
        (SubKind.MARK_PRICES, MarkPrice(c.markPx)),
        (SubKind.INDEX_PRICES, IndexPrice(c.oraclePx)),
        (SubKind.OPEN_INTEREST, OpenInterest(c.openInterest)),
    ]


def _answer(data: messages.ResponseData) -> Output:
    named = data.subscription
    if data.method == "subscribe":
        channel = f"{named.type}.{named.interval}" if named.interval else named.type
        return Ack(topics=(subscription_id(channel, named.coin),))
    return Ignored(f"the answer to {data.method}")
