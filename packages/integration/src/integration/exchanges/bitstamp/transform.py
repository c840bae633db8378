"""Bitstamp's messages into events. Times are microseconds, and number the books."""

from collections.abc import Iterable

from integration.errors import Exchange
from integration.exchanges.bitstamp import messages
from integration.market.connector import VenueTransformer
from integration.market.notices import (
    Ack,
    Ignored,
    Info,
    InfoAction,
    Output,
    Pong,
    Refusal,
)
from integration.market.numbers import exact
from integration.models import (
    DataKind,
    MarketEvent,
    OrderBookUpdate,
    PublicTrade,
    Side,
    SubscriptionId,
    subscription_id,
)

__all__ = ["BitstampTransformer"]

_US = 1_000


class BitstampTransformer(VenueTransformer[messages.Message]):
    """One connection to Bitstamp."""

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        match message:
            case messages.DiffBook(channel=channel, data=data):
                micros = int(data.microtimestamp)
                update = OrderBookUpdate(data.bids, data.asks, micros)
                return self._event(channel, micros, time_received, update)
            case messages.Trade(channel=channel, data=data):
                side = Side.SELL if data.type else Side.BUY
                price, amount = exact(data.price_str), exact(data.amount_str)
                trade = PublicTrade(str(data.id), price, amount, side)
                micros = int(data.microtimestamp)
                return self._event(channel, micros, time_received, trade)
            case messages.Subscribed(channel=channel):
                return (Ack(topics=(_id(channel),)),)
            case messages.Left(channel=channel):
                return (Ignored(f"left {channel}"),)
            case messages.Reconnect():
                return (Info(InfoAction.RECONNECT, message="request_reconnect"),)
            case messages.Heartbeat():
                return (Pong(),)
            case messages.Fault(channel=channel, data=data):
                code = None if data.code is None else str(data.code)
                topics = (_id(channel),) if channel else ()
                return (Refusal(Exchange(data.message, code=code), topics=topics),)

    def _event(
        self, channel: str, micros: int, now: int, kind: DataKind
    ) -> Iterable[Output]:
        name, _, market = channel.rpartition("_")
        instrument = self.routes.get(name, market)
        if instrument is None:
            return self.unidentified(name, market)
        return (MarketEvent(micros * _US, now, self.exchange, instrument, kind),)


def _id(channel: str) -> SubscriptionId:
    name, _, market = channel.rpartition("_")
    return subscription_id(name, market)
