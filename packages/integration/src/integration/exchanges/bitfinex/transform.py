"""Bitfinex's messages into events.

The sign of an amount is a side. `te` is a trade, `tu` the same trade again a little
later. Checksums (`cs`) come in messages of their own.
"""

from collections.abc import Iterable
from typing import Any

from integration.errors import Exchange, Maintenance
from integration.exchanges.bitfinex import channels, messages, rows, symbols
from integration.exchanges.shared import told
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
from integration.market.sequencing import ConnectionCounter, Outcome
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    SubscriptionId,
    subscription_id,
)

__all__ = ["BitfinexTransformer"]

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
        if topic is not None and topic.market == channels.LIQUIDATIONS:
            return (Heartbeat(),) if m.kind else self._liquidations(m.body, now)
        instrument = (
            None if topic is None else self.routes.get(topic.channel, topic.market)
        )
        if topic is None or instrument is None:
            return self.unidentified(str(m.channel_id), "")
        match m.kind, topic.channel:
            case "hb" | "tu", _:
                return (Heartbeat(instrument),)
            case "cs", _:
                return (BookChecksum(instrument, rows.checksum(m.body)),)
            case "te", _:
                time, trade = rows.trade(m.body)
                return (MarketEvent(time, now, self.exchange, instrument, trade),)
            case "", channels.BOOK:
                kind = rows.book(m.body)
                return (MarketEvent(now, now, self.exchange, instrument, kind),)
            case "", channels.TICKER:
                top = rows.ticker(m.body, now)
                return (MarketEvent(now, now, self.exchange, instrument, top),)
            case "", channels.CANDLES:
                return self._candle(m.body, topic, instrument, now)
            case "", channels.STATUS:
                time, facts = rows.status(m.body)
                return told(self, topic.channel, topic.market, facts, times=(time, now))
            case "", channels.TRADE:
                return (Ignored("recent trades from before the subscription"),)
            case _:
                return (Ignored(f"{m.kind} of {topic.id}"),)

    def _liquidations(self, body: Any, now: int) -> Iterable[Output]:  # noqa: ANN401  JSON
        outputs: list[Output] = []
        for symbol, liquidation in rows.liquidations(body):
            instrument = self.routes.member(
                channels.STATUS, symbol, SubKind.LIQUIDATIONS, symbols.native
            )
            if instrument is None:
                outputs.append(Ignored(f"nobody asked for {symbol}"))
                continue
            event = MarketEvent(
                liquidation.time, now, self.exchange, instrument, liquidation
            )
            outputs.append(event)
        return outputs or (Ignored("no liquidation has begun"),)

    def _candle(
        self,
        body: list[Any],
        topic: Topic,
        instrument: MarketDataInstrument,
        now: int,
    ) -> Iterable[Output]:
        if not body or isinstance(body[0], list):
            return (Ignored("candles from before the subscription"),)
        name = topic.market.split(":")[1]
        candle = rows.candle(body, channels.INTERVALS.get(name, name))
        return (MarketEvent(now, now, self.exchange, instrument, candle),)

    def _event(self, m: messages.Event) -> Output:
        match m.event:
            case "subscribed" if m.chanId is not None:
                self.bind(m.chanId, Topic(m.channel, m.symbol or m.key))
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
    market = m.symbol or m.key
    return (subscription_id(m.channel, market),) if market else ()


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
