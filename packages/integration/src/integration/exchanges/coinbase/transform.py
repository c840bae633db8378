"""Coinbase Exchange's messages into events.

The wire's side of a trade is the maker's, so it is turned round. Trade ids of a
product count by one: a hole, or a heartbeat that knows a later trade, is a loss.
"""

from collections.abc import Iterable

from integration.errors import Exchange, SequenceGap
from integration.exchanges.coinbase import channels, messages
from integration.exchanges.shared import level_of, side_of
from integration.fields import ns_from_iso
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Heartbeat, Ignored, Output, Refusal
from integration.market.numbers import exact
from integration.models import (
    DataKind,
    ExchangeId,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    Side,
    subscription_id,
)

__all__ = ["CoinbaseTransformer"]


class CoinbaseTransformer(VenueTransformer[messages.Message]):
    """One connection to Coinbase Exchange."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._last_trade: dict[str, int] = {}

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        match message:
            case messages.L2Update():
                return self._update(message, time_received)
            case messages.Match():
                return self._match(message, time_received)
            case messages.Ticker():
                return self._ticker(message, time_received)
            case messages.Snapshot():
                return self._snapshot(message, time_received)
            case messages.Heartbeat():
                return self._heartbeat(message)
            case messages.LastMatch():
                self._last_trade[message.product_id] = message.trade_id
                return (Ignored("replay of the last trade at subscribe time"),)
            case messages.Subscriptions():
                return (_ack(message),)
            case messages.Fault():
                error = Exchange(message.reason or message.message)
                return (Refusal(error),)

    def _event(
        self, channel: str, product: str, time: int, now: int, kind: DataKind
    ) -> tuple[Output, ...]:
        instrument = self.routes.get(channel, product)
        if instrument is None:
            return self.unidentified(channel, product)
        return (MarketEvent(time, now, self.exchange, instrument, kind),)

    def _match(self, m: messages.Match, now: int) -> Iterable[Output]:
        taker = side_of(m.side).opposite()
        trade = PublicTrade(
            str(m.trade_id), exact(m.price), exact(m.size), taker, sequence=m.sequence
        )
        lost = self._lost_trades(m.product_id, m.trade_id - 1)
        self._last_trade[m.product_id] = m.trade_id
        time = ns_from_iso(m.time)
        return (*lost, *self._event(channels.TRADE, m.product_id, time, now, trade))

    def _lost_trades(self, product: str, previous: int) -> tuple[Output, ...]:
        """Report trades up to `previous` that never came."""
        last = self._last_trade.get(product)
        if last is None or last >= previous:
            return ()
        self._last_trade[product] = previous
        return (SequenceGap(product, expected=last + 1, actual=previous + 1),)

    def _ticker(self, m: messages.Ticker, now: int) -> Iterable[Output]:
        time = ns_from_iso(m.time)
        bid = level_of(m.best_bid, m.best_bid_size)
        ask = level_of(m.best_ask, m.best_ask_size)
        top = OrderBookL1(time, bid, ask, m.sequence)
        return self._event(channels.TICKER, m.product_id, time, now, top)

    def _snapshot(self, m: messages.Snapshot, now: int) -> Iterable[Output]:
        time = now if m.time is None else ns_from_iso(m.time)
        image = OrderBookSnapshot(m.bids, m.asks)
        return self._event(channels.BOOK, m.product_id, time, now, image)

    def _update(self, m: messages.L2Update, now: int) -> Iterable[Output]:
        bids: list[RawLevel] = []
        asks: list[RawLevel] = []
        for side, price, size in m.changes:
            levels = bids if side_of(side) is Side.BUY else asks
            levels.append((price, size))
        update = OrderBookUpdate(bids, asks)
        time = ns_from_iso(m.time)
        return self._event(channels.BOOK, m.product_id, time, now, update)

    def _heartbeat(self, m: messages.Heartbeat) -> Iterable[Output]:
        known = (
            self.routes.get(c, m.product_id) for c in (channels.TRADE, "heartbeat")
        )
        beat = Heartbeat(
            next((i for i in known if i is not None), None),
            m.sequence,
            str(m.last_trade_id),
        )
        return (*self._lost_trades(m.product_id, m.last_trade_id), beat)


def _ack(m: messages.Subscriptions) -> Ack:
    ours = {name: channel for channel, name in channels.NAMES.items()}
    return Ack(
        topics=tuple(
            subscription_id(ours.get(channel.name, channel.name), product)
            for channel in m.channels
            for product in channel.product_ids
        )
    )
