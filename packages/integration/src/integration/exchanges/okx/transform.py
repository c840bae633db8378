"""OKX's messages into events. Sizes of derivatives count contracts."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from integration.errors import Exchange
from integration.exchanges.okx import channels, messages, shapes, symbols
from integration.exchanges.shared import level_of, side_of, told
from integration.fields import decimal_of
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Ignored, Info, InfoAction, Output, Refusal
from integration.market.numbers import exact, exact_pair
from integration.market.shapes import Scanner
from integration.models import (
    AmountUnit,
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
    RawLevel,
    Side,
    SubKind,
    SubscriptionId,
    TradeFlag,
    subscription_id,
)

__all__ = ["OkxTransformer"]

_MS = 1_000_000
# An attribute of an Enum costs 30 ns.
_ORDINARY, _AGGREGATED = TradeFlag.NONE, TradeFlag.AGGREGATED
_BASE, _CONTRACT = AmountUnit.BASE, AmountUnit.CONTRACT
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_CLOSING = "64008"
"""The connection closes in 60 s for an upgrade."""

_NAMED = re.compile(r"channel:(?P<channel>[^,\s]+),\s*instId:(?P<market>[^,\s]+)")


class OkxTransformer(VenueTransformer[messages.Message]):
    """One connection to OKX."""

    heartbeats = (b"pong",)

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._dealt = self.routes.channel(channels.TRADE)
        self.scanner = Scanner.of(
            (shapes.TRADES, self._dealt),
            exchange=exchange,
            units=(_BASE, _CONTRACT),
            unsaid=1,
        )
        self._handlers: dict[
            type, Callable[[Any, MarketDataInstrument, int], Iterable[Output]]
        ] = {
            messages.Books: self._books,
            messages.Tops: self._tops,
            messages.Candles: self._candles,
            messages.FundingRates: self._funding,
        }
        self.handlers = {
            messages.Trades: self._trades,
            messages.Liquidations: self._liquidations,
            messages.Event: self._event,
            messages.MarkPrices: self._marks,
            messages.IndexTickers: self._indices,
            messages.OpenInterests: self._open_interest,
            **dict.fromkeys(self._handlers, self._routed),
        }

    decode = staticmethod(messages.decode)

    def _event(self, m: messages.Event, _now: int) -> Iterable[Output]:
        return (_event(m),)

    def _routed(self, m: messages.Routed, now: int) -> Iterable[Output]:
        arg = m.arg
        instrument = self.routes.get(arg.channel, arg.instId)
        if instrument is None:
            return self.unidentified(arg.channel, arg.instId)
        return self._handlers[type(m)](m, instrument, now)

    def _event_of(
        self, time: int, now: int, instrument: MarketDataInstrument, kind: DataKind
    ) -> MarketEvent:
        return MarketEvent(time, now, self.exchange, instrument, kind)

    def _trades(self, m: messages.Trades, now: int) -> Iterable[Output]:
        arg = m.arg
        instrument = self._dealt.get(arg.instId)
        if instrument is None:
            return self.unidentified(arg.channel, arg.instId)
        unit, exchange, events = _unit(instrument), self.exchange, []
        for t in m.data:
            count = 1 if t.count == "1" else int(t.count)
            flags = _AGGREGATED if count > 1 else _ORDINARY
            price, amount = exact_pair(t.px, t.sz)
            side = _SIDES.get(t.side) or side_of(t.side)
            trade = PublicTrade(
                t.tradeId, price, amount, side, unit, flags, None, count
            )
            events.append(
                MarketEvent(int(t.ts) * _MS, now, exchange, instrument, trade)
            )
        return events

    def _books(
        self, m: messages.Books, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        unit, events = _unit(instrument), []
        for book in m.data:
            bids, asks = _pairs(book.bids), _pairs(book.asks)
            checksum = book.checksum or None
            kind: OrderBookSnapshot | OrderBookUpdate
            if m.action == "snapshot":
                kind = OrderBookSnapshot(
                    bids, asks, book.seqId, checksum=checksum, amount_unit=unit
                )
            else:
                kind = OrderBookUpdate(
                    bids,
                    asks,
                    book.seqId,
                    prev_sequence=book.prevSeqId,
                    checksum=checksum,
                    amount_unit=unit,
                )
            events.append(self._event_of(int(book.ts) * _MS, now, instrument, kind))
        return events

    def _tops(
        self, m: messages.Tops, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        events = []
        for top in m.data:
            bid = level_of(top.bids[0].price, top.bids[0].size) if top.bids else None
            ask = level_of(top.asks[0].price, top.asks[0].size) if top.asks else None
            time = int(top.ts) * _MS
            best = OrderBookL1(time, bid, ask, top.seqId, _unit(instrument))
            events.append(self._event_of(time, now, instrument, best))
        return events

    def _liquidations(self, m: messages.Liquidations, now: int) -> Iterable[Output]:
        events: list[Output] = []
        for row in m.data:
            instrument = self.routes.member(
                m.arg.channel, row.instId, SubKind.LIQUIDATIONS, symbols.native
            )
            if instrument is None:
                events.append(Ignored(f"nobody asked for {row.instId}"))
                continue
            for detail in row.details:
                time = int(detail.ts) * _MS
                liquidation = Liquidation(
                    side_of(detail.side),
                    *exact_pair(detail.bkPx, detail.sz),
                    time,
                    amount_unit=AmountUnit.CONTRACT,
                    position_side=detail.posSide or None,
                )
                events.append(self._event_of(time, now, instrument, liquidation))
        return events

    def _candles(
        self, m: messages.Candles, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        interval, unit = channels.interval(m.arg.channel), _unit(instrument)
        return [
            self._event_of(
                now,
                now,
                instrument,
                Candle(
                    interval,
                    int(c.ts) * _MS,
                    None,
                    exact(c.open),
                    exact(c.high),
                    exact(c.low),
                    exact(c.close),
                    exact(c.volume),
                    closed=c.confirm == "1",
                    amount_unit=unit,
                ),
            )
            for c in m.data
        ]

    def _funding(
        self, m: messages.FundingRates, instrument: MarketDataInstrument, now: int
    ) -> Iterable[Output]:
        return [
            self._event_of(
                int(r.ts) * _MS,
                now,
                instrument,
                FundingRate(decimal_of(r.fundingRate), int(r.fundingTime) * _MS),
            )
            for r in m.data
        ]

    def _marks(self, m: messages.MarkPrices, now: int) -> Iterable[Output]:
        return [
            out
            for row in m.data
            for out in self._told(
                m.arg, SubKind.MARK_PRICES, MarkPrice(exact(row.markPx)), row.ts, now
            )
        ]

    def _indices(self, m: messages.IndexTickers, now: int) -> Iterable[Output]:
        return [
            out
            for row in m.data
            for out in self._told(
                m.arg, SubKind.INDEX_PRICES, IndexPrice(exact(row.idxPx)), row.ts, now
            )
        ]

    def _open_interest(self, m: messages.OpenInterests, now: int) -> Iterable[Output]:
        outputs: list[Output] = []
        for row in m.data:
            interest = OpenInterest(exact(row.oi), _CONTRACT)
            kind = SubKind.OPEN_INTEREST
            outputs.extend(self._told(m.arg, kind, interest, row.ts, now))
        return outputs

    def _told(
        self, arg: messages.Arg, kind: SubKind, fact: DataKind, ts: str, now: int
    ) -> Iterable[Output]:
        times = (int(ts) * _MS, now)
        return told(self, arg.channel, arg.instId, ((kind, fact),), times=times)


def _unit(instrument: MarketDataInstrument) -> AmountUnit:
    # The same as asking for its `kind`, which makes an enum of the text each time.
    return _BASE if instrument.instrument_kind == "spot" else _CONTRACT


def _pairs(levels: list[messages.Level]) -> list[RawLevel]:
    return [(level.price, level.size) for level in levels]


def _event(m: messages.Event) -> Output:
    match m.event:
        case "subscribe":
            return Ack(topics=_topics(m))
        case "error" | "channel-conn-count-error":
            error = Exchange(f"{m.code}: {m.msg}", code=m.code)
            return Refusal(error, topics=_topics(m))
        case "notice":
            closing = m.code == _CLOSING
            action = InfoAction.RECONNECT if closing else InfoAction.NONE
            return Info(action, code=m.code, message=m.msg)
        case "unsubscribe":
            return Ignored("left a channel")
        case _:
            return Info(status=m.event, code=m.code or None, message=m.msg)


def _topics(m: messages.Event) -> tuple[SubscriptionId, ...]:
    arg = m.arg or m.args
    if arg is not None:
        return (subscription_id(arg.channel, arg.instId or arg.instType),)
    # A refusal names its topic in words only.
    named = _NAMED.search(m.msg)
    if named is None:
        return ()
    return (subscription_id(named["channel"], named["market"]),)
