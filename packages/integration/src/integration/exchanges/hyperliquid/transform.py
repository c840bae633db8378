"""Hyperliquid's messages into events."""

from collections.abc import Iterable

from integration.errors import Exchange
from integration.exchanges.hyperliquid import channels, messages
from integration.exchanges.shared import level_of, side_of
from integration.market.connector import VenueTransformer
from integration.market.notices import Ack, Ignored, Output, Pong, Refusal
from integration.market.numbers import exact
from integration.models import (
    DataKind,
    Level,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    PublicTrade,
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
            case messages.Response(data=data):
                return (_answer(data),)
            case messages.Pong():
                return (Pong(),)
            case messages.Fault(data=text):
                return (Refusal(Exchange(text)),)

    def _trade(self, t: messages.Trade, now: int) -> Iterable[Output]:
        trade = PublicTrade(str(t.tid), exact(t.px), exact(t.sz), side_of(t.side))
        return self._event(channels.TRADE, t.coin, t.time, now, trade)

    def _event(
        self, channel: str, coin: str, time_ms: int, now: int, kind: DataKind
    ) -> Iterable[Output]:
        instrument = self.routes.get(channel, coin)
        if instrument is None:
            return self.unidentified(channel, coin)
        return (MarketEvent(time_ms * _MS, now, self.exchange, instrument, kind),)


def _level(level: messages.Level | None) -> Level | None:
    return None if level is None else level_of(level.px, level.sz)


def _answer(data: messages.ResponseData) -> Output:
    named = data.subscription
    if data.method == "subscribe":
        return Ack(topics=(subscription_id(named.type, named.coin),))
    return Ignored(f"the answer to {data.method}")
