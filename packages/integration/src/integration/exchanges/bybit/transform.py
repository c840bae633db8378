"""Bybit's messages into events.

Level 1 is a tiny book: a delta names only what changed, and a side that it does not
name is as it was.
"""

from collections.abc import Callable, Iterable
from typing import Any

from integration.errors import Exchange, SequenceGap
from integration.exchanges.bybit import channels, messages
from integration.exchanges.shared import side_of, told
from integration.fields import decimal_of
from integration.market.books import OrderBook
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Ignored, Output, Pong, Refusal, TopicLost
from integration.market.numbers import exact, exact_pair
from integration.models import (
    Candle,
    DataKind,
    ExchangeId,
    FundingRate,
    IndexPrice,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    TradeFlag,
    subscription_id,
)

__all__ = ["BybitTransformer"]

_MS = 1_000_000


class BybitTransformer(VenueTransformer[messages.Message]):
    """One connection to one of Bybit's servers."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._tops: dict[str, OrderBook] = {}
        self._tickers: dict[str, messages.Ticker] = {}
        self._handlers: dict[
            type, Callable[[Any, MarketDataInstrument, int], Iterable[Output]]
        ] = {
            messages.TradeMessage: self._trades,
            messages.BookMessage: self._book,
            messages.KlineMessage: self._klines,
            messages.LiquidationMessage: self._liquidations,
            messages.TickerMessage: self._ticker,
        }

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        if isinstance(message, messages.Answer):
            return (_answer(message),)
        channel, _, market = message.topic.rpartition(".")
        instrument = self.routes.get(channel, market)
        if instrument is None:
            return self.unidentified(channel, market)
        return self._handlers[type(message)](message, instrument, time_received)

    def _trades(
        self, m: messages.TradeMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        return [
            MarketEvent(
                t.T * _MS,
                now,
                self.exchange,
                instrument,
                PublicTrade(
                    t.i,
                    *exact_pair(t.p, t.v),
                    side_of(t.S),
                    flags=TradeFlag.BLOCK if t.BT else TradeFlag.NONE,
                ),
                m.ts * _MS,
            )
            for t in m.data
        ]

    def _book(
        self, m: messages.BookMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        if m.topic.startswith(f"{channels.TOP}."):
            return self._top(m, instrument, now)
        book, engine = m.data, None if m.cts is None else m.cts * _MS
        kind: OrderBookSnapshot | OrderBookUpdate
        if m.type == "snapshot":
            kind = OrderBookSnapshot(
                book.b, book.a, book.u, engine, cross_sequence=book.seq
            )
        else:
            kind = OrderBookUpdate(
                book.b,
                book.a,
                sequence=book.u,
                time_engine=engine,
                cross_sequence=book.seq,
            )
        return (MarketEvent(m.ts * _MS, now, self.exchange, instrument, kind),)

    def _top(
        self, m: messages.BookMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        data, top = m.data, self._tops.get(m.data.s)
        if m.type == "snapshot":
            top = self._tops.setdefault(data.s, OrderBook())
            top.apply_snapshot(data.b, data.a, sequence=data.u)
        elif top is None or top.sequence is None:
            return (Ignored("a delta before its snapshot"),)
        elif data.u != top.sequence + 1:
            gap = SequenceGap(data.s, expected=top.sequence + 1, actual=data.u)
            del self._tops[data.s]
            return (TopicLost(subscription_id(channels.TOP, data.s), gap),)
        else:
            top.apply_update(data.b, data.a, sequence=data.u)
        time = m.ts * _MS
        engine = time if m.cts is None else m.cts * _MS
        best = OrderBookL1(engine, top.best_bid, top.best_ask, data.u)
        return (MarketEvent(time, now, self.exchange, instrument, best),)

    def _klines(
        self, m: messages.KlineMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        return [
            MarketEvent(
                m.ts * _MS,
                now,
                self.exchange,
                instrument,
                Candle(
                    channels.INTERVALS.get(k.interval, k.interval),
                    k.start * _MS,
                    k.end * _MS,
                    exact(k.open),
                    exact(k.high),
                    exact(k.low),
                    exact(k.close),
                    exact(k.volume),
                    closed=k.confirm,
                ),
            )
            for k in m.data
        ]

    def _liquidations(
        self, m: messages.LiquidationMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        events = []
        for item in m.data:
            # The documentation: Buy means that a long was liquidated, by a sale.
            held = side_of(item.S)
            time = item.T * _MS
            liquidation = Liquidation(
                held.opposite(),
                *exact_pair(item.p, item.v),
                time,
                position_side="long" if item.S == "Buy" else "short",
            )
            events.append(
                MarketEvent(time, now, self.exchange, instrument, liquidation)
            )
        return events

    def _ticker(
        self, m: messages.TickerMessage, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        del instrument  # several may wait, each for another kind
        new, known = m.data, self._tickers.setdefault(m.data.symbol, m.data)
        for name in new.__struct_fields__:
            if getattr(new, name) is not None:
                setattr(known, name, getattr(new, name))
        times = (m.ts * _MS, now)
        return told(self, channels.TICKERS, new.symbol, _facts(new, known), times=times)


def _facts(
    new: messages.Ticker, known: messages.Ticker
) -> Iterable[tuple[SubKind, DataKind]]:
    """Say what is news in a ticker; what belongs to it may be older."""
    mark = exact(known.markPrice) if known.markPrice else None
    index = exact(known.indexPrice) if known.indexPrice else None
    if known.fundingRate and (new.fundingRate or new.nextFundingTime):
        due = known.nextFundingTime
        yield (
            SubKind.FUNDING_RATES,
            FundingRate(
                decimal_of(known.fundingRate),
                int(due) * _MS if due else None,
                mark,
                index,
            ),
        )
    if new.markPrice and mark is not None:
        yield SubKind.MARK_PRICES, MarkPrice(mark)
    if new.indexPrice and index is not None:
        yield SubKind.INDEX_PRICES, IndexPrice(index)
    if new.openInterest:
        worth = new.openInterestValue
        value = exact(worth) if worth else None
        interest = OpenInterest(exact(new.openInterest), value=value)
        yield SubKind.OPEN_INTEREST, interest


def _answer(m: messages.Answer) -> Output:
    request_id = m.req_id or None
    if m.op in {"ping", "pong"} or m.ret_msg == "pong":
        return Pong(request_id)
    if m.success is False:
        return Refusal(Exchange(m.ret_msg or "the venue gave no reason"), request_id)
    if m.op == "subscribe":
        return Ack(request_id)
    return Ignored(f"the answer to {m.op}")
