"""Bitfinex's messages into events.

The sign of an amount is a side. `te` is a trade, `tu` the same trade again a little
later. Checksums (`cs`) come in messages of their own.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from integration.errors import Exchange, Maintenance
from integration.exchanges.bitfinex import channels, messages
from integration.market.connector import RouteTable, Topic, VenueTransformer
from integration.market.notices import (
    Ack,
    BookChecksum,
    ConnectionGap,
    Heartbeat,
    Ignored,
    Info,
    InfoAction,
    Output,
    Pong,
    Refusal,
)
from integration.market.numbers import exact
from integration.market.sequencing import ConnectionCounter, Outcome
from integration.models import (
    DataKind,
    ExchangeId,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    Side,
    SubscriptionId,
    subscription_id,
)

__all__ = ["BitfinexTransformer"]

_MS = 1_000_000

_ACTIONS = {
    20051: InfoAction.RECONNECT,
    20060: InfoAction.PAUSE,
    20061: InfoAction.RESUBSCRIBE,
}
"""https://docs.bitfinex.com/docs/ws-general#info-messages"""


class BitfinexTransformer(VenueTransformer[messages.Message]):
    """One connection to Bitfinex."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._topics: dict[int, Topic] = {}
        self._counter = ConnectionCounter()

    def bind(self, channel_id: int, topic: Topic) -> None:
        """Learn what the venue calls a topic on this connection."""
        self._topics[channel_id] = topic

    def bound(self, topic: Topic) -> Topic | None:
        """Return a topic with its number, by which it is left."""
        found = [n for n, each in self._topics.items() if each.id == topic.id]
        # The latest: a topic subscribed to again has a new number.
        return Topic(topic.channel, topic.market, (str(found[-1]),)) if found else None

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        if isinstance(message, messages.Event):
            return (self._event(message),)
        outputs: list[Output] = []
        if message.sequence is not None:
            last = self._counter.last
            if (
                self._counter.check(message.sequence) is Outcome.GAP
                and last is not None
            ):
                outputs.append(ConnectionGap(last + 1, message.sequence))
        outputs.extend(self._data(message, time_received))
        return outputs

    def _data(self, m: messages.Data, now: int) -> Iterable[Output]:
        topic = self._topics.get(m.channel_id)
        instrument = (
            None if topic is None else self.routes.get(topic.channel, topic.market)
        )
        if topic is None or instrument is None:
            return self.unidentified(str(m.channel_id), "")
        match m.kind, topic.channel:
            case "hb" | "tu", _:
                return (Heartbeat(instrument),)
            case "cs", _:
                return (BookChecksum(instrument, int(m.body)),)
            case "te", _:
                time, trade = _trade(m.body)
                return (MarketEvent(time, now, self.exchange, instrument, trade),)
            case "", channels.BOOK:
                kind = _book(m.body)
                return (MarketEvent(now, now, self.exchange, instrument, kind),)
            case "", channels.TRADE:
                return (Ignored("recent trades from before the subscription"),)
            case _:
                return (Ignored(f"{m.kind} of {topic.id}"),)

    def _event(self, m: messages.Event) -> Output:
        match m.event:
            case "subscribed" if m.chanId is not None:
                self.bind(m.chanId, Topic(m.channel, m.symbol))
                return Ack(topics=_topics(m), channel_id=m.chanId)
            case "error":
                code = str(m.code)
                error = Exchange(f"{code}: {m.msg}", code=code)
                return Refusal(error, topics=_topics(m))
            case "info":
                return _info(m)
            case "pong":
                return Pong(None if m.cid is None else str(m.cid))
            case "unsubscribed" if m.chanId is not None:
                self._topics.pop(m.chanId, None)
                return Ignored("left a channel")
            case _:
                return Ignored(f"event {m.event}")


def _topics(m: messages.Event) -> tuple[SubscriptionId, ...]:
    return (subscription_id(m.channel, m.symbol),) if m.symbol else ()


def _info(m: messages.Event) -> Output:
    if m.platform is not None:
        if m.platform.status:
            return Info(status="online")
        error = Maintenance("the platform is in maintenance")
        # Whoever subscribes now gets nothing: the subscription fails.
        error.recoverable = False
        return Refusal(error)
    action = _ACTIONS.get(m.code or 0, InfoAction.NONE)
    return Info(action, code=str(m.code), message=m.msg)


def _trade(body: Any) -> tuple[int, PublicTrade]:  # noqa: ANN401  JSON
    number, time, amount, price = _row(body, 4)[:4]
    text = str(amount)
    return int(time) * _MS, PublicTrade(
        str(number),
        exact(str(price)),
        exact(text.removeprefix("-")),
        Side.SELL if text.startswith("-") else Side.BUY,
    )


def _book(body: Any) -> DataKind:  # noqa: ANN401  JSON
    """An image is a list of levels, an update is one level."""
    image = not body or isinstance(body[0], list)
    bids: list[RawLevel] = []
    asks: list[RawLevel] = []
    for row in body if image else [body]:
        price, count, amount = _row(row, 3)[:3]
        text = str(amount)
        levels = asks if text.startswith("-") else bids
        levels.append((str(price), text.removeprefix("-") if count else "0"))
    return OrderBookSnapshot(bids, asks) if image else OrderBookUpdate(bids, asks)


def _row(row: Any, size: int) -> list[int | str]:  # noqa: ANN401  JSON
    """Check that a row has enough elements, all of them numbers."""
    if (
        not isinstance(row, list)
        or len(row) < size
        or any(isinstance(x, bool) or not isinstance(x, int | str) for x in row)
    ):
        msg = f"expected {size} numbers, was {row!r}"
        raise msgspec.ValidationError(msg)
    return row
