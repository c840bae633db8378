"""BitMEX's messages into events.

A message may hold rows of several symbols: each is routed by itself. Levels are named
by id; their prices are remembered, because not every row repeats them. A change of an
id that was never seen means that a message was lost.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from integration.errors import Exchange, RateLimited
from integration.exchanges.bitmex import channels, messages
from integration.exchanges.shared import level, plain_levels, side_of, told
from integration.fields import ns_from_iso
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Ignored, Info, LevelLost, Output, Refusal
from integration.market.numbers import exact, plain
from integration.models import (
    AmountUnit,
    Candle,
    DataKind,
    ExchangeId,
    FundingRate,
    IndexPrice,
    Liquidation,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    SubKind,
    SubscriptionId,
    subscription_id,
)

__all__ = ["BitmexTransformer"]

_UNIT = AmountUnit.CONTRACT
_TOO_MANY = 429
_MS = 1_000_000
_SECOND = 10**9


class BitmexTransformer(VenueTransformer[messages.Message]):
    """One connection to BitMEX."""

    heartbeats = (b"pong",)

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        # By table and symbol: ids of levels and their prices; absent before an image.
        self._prices: dict[tuple[str, str], dict[int, str]] = {}

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Message, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        match message:
            case messages.BookRows():
                return self._books(message, time_received)
            case messages.Trades():
                return self._trades(message, time_received)
            case messages.Quotes():
                return [self._quote(q, time_received) for q in message.data]
            case messages.Images():
                return [self._image(i, time_received) for i in message.data]
            case messages.LiquidationRows():
                return self._liquidations(message, time_received)
            case messages.FundingRows():
                return [self._funding(row, time_received) for row in message.data]
            case messages.BinRows():
                return [
                    self._bin(message.table, r, time_received) for r in message.data
                ]
            case messages.InstrumentRows():
                return [
                    output
                    for row in message.data
                    for output in self._news(row, time_received)
                ]
            case messages.Answer():
                return (_answer(message),)

    def _event(
        self, table: str, symbol: str, time: int, now: int, kind: DataKind
    ) -> Output:
        instrument = self.routes.get(table, symbol)
        if instrument is None:
            return self.unidentified(table, symbol)[0]
        return MarketEvent(time, now, self.exchange, instrument, kind)

    def _trades(self, m: messages.Trades, now: int) -> Iterable[Output]:
        if m.action == "partial":
            return (Ignored("trades from before the subscription"),)
        outputs = []
        for t in m.data:
            plain(t.price)
            plain(t.size)
            trade = PublicTrade(
                t.trdMatchID, t.price, t.size, side_of(t.side), amount_unit=_UNIT
            )
            time = ns_from_iso(t.timestamp)
            outputs.append(self._event(channels.TRADE, t.symbol, time, now, trade))
        return outputs

    def _quote(self, q: messages.Quote, now: int) -> Output:
        time = ns_from_iso(q.timestamp)
        bid, ask = level(q.bidPrice, q.bidSize), level(q.askPrice, q.askSize)
        top = OrderBookL1(time, bid, ask, amount_unit=_UNIT)
        return self._event(channels.QUOTE, q.symbol, time, now, top)

    def _books(self, m: messages.BookRows, now: int) -> Iterable[Output]:
        rows: dict[str, list[messages.BookRow]] = {}
        for row in m.data:
            rows.setdefault(row.symbol, []).append(row)
        if m.action == "partial" and not m.data:
            # The image of an empty book names its symbol in the filter only.
            rows[str(m.filter.get("symbol", ""))] = []
        return [self._book(m, symbol, part, now) for symbol, part in rows.items()]

    def _book(
        self,
        m: messages.BookRows,
        symbol: str,
        rows: list[messages.BookRow],
        now: int,
    ) -> Output:
        image = m.action == "partial"
        if image:
            self._prices[m.table, symbol] = {}
        prices = self._prices.get((m.table, symbol))
        if prices is None:
            return Ignored("a change before the image")
        bids: list[RawLevel] = []
        asks: list[RawLevel] = []
        for row in rows:
            if row.price is not None:
                prices[row.id] = plain(row.price)
            elif row.id not in prices:
                return self._lost(m, symbol, row.id)
            gone = m.action == "delete"
            price = prices.pop(row.id) if gone else prices[row.id]
            amount = "0" if gone else plain(_present(row.size))
            levels = bids if row.side == "Buy" else asks
            levels.append((price, amount))
        make = OrderBookSnapshot if image else OrderBookUpdate
        times = [ns_from_iso(r.timestamp) for r in rows if r.timestamp is not None]
        time = max(times, default=now)
        kind = make(bids, asks, amount_unit=_UNIT)
        return self._event(m.table, symbol, time, now, kind)

    def _lost(self, m: messages.BookRows, symbol: str, level_id: int) -> Output:
        instrument = self.routes.get(m.table, symbol)
        if instrument is None:
            return self.unidentified(m.table, symbol)[0]
        # Nothing can be understood any more until the next image.
        del self._prices[m.table, symbol]
        return LevelLost(instrument, f"{m.action} of level {level_id}, never seen")

    def _image(self, i: messages.Image, now: int) -> Output:
        time = ns_from_iso(i.timestamp)
        bids, asks = plain_levels(i.bids), plain_levels(i.asks)
        image = OrderBookSnapshot(bids, asks, amount_unit=_UNIT)
        return self._event(channels.IMAGES, i.symbol, time, now, image)

    def _liquidations(self, m: messages.LiquidationRows, now: int) -> Iterable[Output]:
        if m.action != "insert":
            return (Ignored(f"{m.action} of liquidation orders known already"),)
        outputs: list[Output] = []
        for row in m.data:
            if row.price is None or row.leavesQty is None:
                outputs.append(Ignored("a liquidation without price or quantity"))
                continue
            plain(row.price)
            plain(row.leavesQty)
            side = side_of(row.side)
            liquidation = Liquidation(
                side, row.price, row.leavesQty, now, row.orderID, _UNIT
            )
            outputs.append(
                self._event(channels.LIQUIDATION, row.symbol, now, now, liquidation)
            )
        return outputs

    def _funding(self, row: messages.FundingRow, now: int) -> Output:
        time = ns_from_iso(row.timestamp)
        rate = FundingRate(row.fundingRate)
        return self._event(channels.FUNDING, row.symbol, time, now, rate)

    def _bin(self, table: str, row: messages.BinRow, now: int) -> Output:
        interval, seconds = channels.BINS[table]
        end = ns_from_iso(row.timestamp)
        if row.open is None or row.high is None or row.low is None:
            return Ignored(f"a candle of {row.symbol} without trades")
        candle = Candle(
            interval,
            end - seconds * _SECOND,
            end - _MS,
            exact(plain(row.open)),
            exact(plain(row.high)),
            exact(plain(row.low)),
            exact(plain(_present(row.close))),
            exact(plain(_present(row.volume))),
            row.trades,
            closed=True,
            amount_unit=_UNIT,
        )
        return self._event(table, row.symbol, end, now, candle)

    def _news(self, row: messages.InstrumentRow, now: int) -> Iterable[Output]:
        time = now if row.timestamp is None else ns_from_iso(row.timestamp)
        table, symbol = channels.INSTRUMENT, row.symbol
        return told(self, table, symbol, _facts(row), times=(time, now))


def _facts(row: messages.InstrumentRow) -> Iterable[tuple[SubKind, DataKind]]:
    mark, index = row.markPrice, row.indicativeSettlePrice
    if mark is not None:
        yield SubKind.MARK_PRICES, MarkPrice(exact(plain(mark)))
    if index is not None:
        # What a contract would settle at is the index that it follows.
        yield SubKind.INDEX_PRICES, IndexPrice(exact(plain(index)))
    if row.openInterest is not None:
        amount = exact(plain(row.openInterest))
        yield SubKind.OPEN_INTEREST, OpenInterest(amount, _UNIT)


def _present(size: Decimal | None) -> Decimal:
    if size is None:
        msg = "a size or a price is missing where there must be one"
        raise msgspec.ValidationError(msg)
    return size


def _answer(m: messages.Answer) -> Output:
    if m.subscribe is not None:
        topics = (_id(m.subscribe),)
        if m.success:
            return Ack(topics=topics)
        return Refusal(Exchange(m.error or "no reason was given"), topics=topics)
    if m.status is not None:
        if m.status == _TOO_MANY:
            wait = None if m.meta is None else m.meta.retryAfter
            return Refusal(RateLimited(m.error, code=str(m.status), retry_after=wait))
        return Refusal(Exchange(m.error, code=str(m.status)))
    if m.info is not None:
        return Info(message=m.info)
    return Ignored("an answer without consequences")


def _id(topic: str) -> SubscriptionId:
    table, _, symbol = topic.partition(":")
    return subscription_id(table, symbol)
