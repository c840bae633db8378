"""Binance's messages into events.

`m` says whether the buyer was the maker, so the taker sold. A zero price in a
bookTicker is an empty side. Times are milliseconds of the matching engine (`T`) or of
sending (`E`).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from integration.errors import Exchange, RateLimited
from integration.exchanges.binance import channels, messages, shapes
from integration.exchanges.shared import level_of, told
from integration.fields import decimal_of
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Info, InfoAction, Output, Refusal
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
    MarketEvent,
    MarkPrice,
    OrderBookL1,
    OrderBookUpdate,
    PublicTrade,
    Side,
    SubKind,
    TradeFlag,
)

__all__ = ["BinanceTransformer", "error_of"]

_MS = 1_000_000
_NULL = b"null"
_TRADE_FLAGS = {
    "LIQUIDATION": TradeFlag.LIQUIDATION,
    "INSURANCE_FUND": TradeFlag.INSURANCE_FUND,
}
# An attribute of an Enum costs 30 ns.
_BUY, _SELL = Side.BUY, Side.SELL
_ORDINARY, _AGGREGATED = TradeFlag.NONE, TradeFlag.AGGREGATED
_SIDES = {"BUY": _BUY, "SELL": _SELL}

_TOO_MANY_REQUESTS = -1003
"""https://developers.binance.com/docs/binance-spot-api-docs/errors"""


class BinanceTransformer(VenueTransformer[messages.Message]):
    """One connection to one of Binance's servers."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        inverse = exchange is ExchangeId.BINANCE_FUTURES_COIN
        self._unit = AmountUnit.CONTRACT if inverse else AmountUnit.BASE
        self._trades = self.routes.channel(channels.TRADE)
        self._agg_trades = self.routes.channel(channels.AGG_TRADE)
        self._books = self.routes.channel(channels.BOOK)
        self._tickers = self.routes.channel(channels.TICKER)
        trades = [(text, self._trades) for text in shapes.TRADES]
        aggregated = [(text, self._agg_trades) for text in shapes.AGG_TRADES]
        self.scanner = Scanner.of(
            *trades, *aggregated, exchange=exchange, units=(self._unit, self._unit)
        )
        self.handlers = {
            messages.Trade: self._trade,
            messages.AggTrade: self._agg_trade,
            messages.SpotTicker: self._spot_ticker,
            messages.BookTicker: self._ticker,
            messages.DepthUpdate: self._depth,
            messages.ForceOrder: self._liquidation,
            messages.Kline: self._kline,
            messages.MarkPrice: self._mark,
            messages.IndexPrice: self._index,
            messages.ServerShutdown: self._shutdown,
            messages.Answer: self._answer,
        }

    # The function itself, not a method around it: a frame costs a tenth of a trade.
    decode = staticmethod(messages.decode)

    def _trade(self, m: messages.Trade, now: int) -> Iterable[Output]:
        instrument = self._trades.get(m.s)
        if instrument is None:
            return self.unidentified(channels.TRADE, m.s)
        flags = _ORDINARY
        if m.X is not None and m.X != "MARKET":
            flags = _TRADE_FLAGS.get(m.X, _ORDINARY)
        price, amount = exact_pair(m.p, m.q)
        side = _SELL if m.m else _BUY
        trade = PublicTrade(str(m.t), price, amount, side, self._unit, flags)
        return (MarketEvent(m.T * _MS, now, self.exchange, instrument, trade),)

    def _agg_trade(self, m: messages.AggTrade, now: int) -> Iterable[Output]:
        instrument = self._agg_trades.get(m.s)
        if instrument is None:
            return self.unidentified(channels.AGG_TRADE, m.s)
        price, amount = exact_pair(m.p, m.q)
        side, count = _SELL if m.m else _BUY, m.l - m.f + 1
        unit = self._unit
        trade = PublicTrade(
            str(m.a), price, amount, side, unit, _AGGREGATED, None, count
        )
        return (MarketEvent(m.T * _MS, now, self.exchange, instrument, trade),)

    def _spot_ticker(self, m: messages.SpotTicker, now: int) -> Iterable[Output]:
        instrument = self._tickers.get(m.s)
        if instrument is None:
            return self.unidentified(channels.TICKER, m.s)
        bid, ask = level_of(m.b, m.B), level_of(m.a, m.A)
        top = OrderBookL1(now, bid, ask, m.u)
        return (MarketEvent(now, now, self.exchange, instrument, top),)

    def _ticker(self, m: messages.BookTicker, now: int) -> Iterable[Output]:
        instrument = self._tickers.get(m.s)
        if instrument is None:
            return self.unidentified(channels.TICKER, m.s)
        time = now if m.T is None else m.T * _MS
        published = None if m.E is None else m.E * _MS
        bid, ask = level_of(m.b, m.B), level_of(m.a, m.A)
        top = OrderBookL1(time, bid, ask, m.u, self._unit)
        return (MarketEvent(time, now, self.exchange, instrument, top, published),)

    def _depth(self, m: messages.DepthUpdate, now: int) -> Iterable[Output]:
        instrument = self._books.get(m.s)
        if instrument is None:
            return self.unidentified(channels.BOOK, m.s)
        engine = None if m.T is None else m.T * _MS
        update = OrderBookUpdate(
            m.b, m.a, m.u, m.U, m.pu, engine, amount_unit=self._unit
        )
        return (MarketEvent(m.E * _MS, now, self.exchange, instrument, update),)

    def _liquidation(self, m: messages.ForceOrder, now: int) -> Iterable[Output]:
        order = m.o
        instrument = self.routes.get(channels.FORCE_ORDER, order.s)
        if instrument is None:
            return self.unidentified(channels.FORCE_ORDER, order.s)
        side = _SIDES.get(order.S)
        if side is None:
            msg = f"a side is BUY or SELL, was {order.S!r}"
            raise msgspec.ValidationError(msg)
        time = order.T * _MS
        liquidation = Liquidation(
            side, *exact_pair(order.p, order.q), time, amount_unit=self._unit
        )
        return (MarketEvent(time, now, self.exchange, instrument, liquidation),)

    def _kline(self, m: messages.Kline, now: int) -> Iterable[Output]:
        k = m.k
        channel = f"@kline_{k.i}"
        instrument = self.routes.get(channel, m.s)
        if instrument is None:
            return self.unidentified(channel, m.s)
        candle = Candle(
            k.i,
            k.t * _MS,
            k.T * _MS,
            exact(k.o),
            exact(k.h),
            exact(k.l),
            exact(k.c),
            exact(k.v),
            k.n,
            k.x,
            self._unit,
        )
        return (MarketEvent(m.E * _MS, now, self.exchange, instrument, candle),)

    def _mark(self, m: messages.MarkPrice, now: int) -> Iterable[Output]:
        mark, index = exact(m.p), None if m.i is None else exact(m.i)
        facts: list[tuple[SubKind, DataKind]] = [(SubKind.MARK_PRICES, MarkPrice(mark))]
        if index is not None:
            facts.append((SubKind.INDEX_PRICES, IndexPrice(index)))
        # Delivery contracts have no funding: their rate is the empty text.
        if m.r:
            rate = FundingRate(decimal_of(m.r), m.T * _MS, mark, index)
            facts.append((SubKind.FUNDING_RATES, rate))
        return told(self, channels.MARK, m.s, facts, times=(m.E * _MS, now))

    def _index(self, m: messages.IndexPrice, now: int) -> Iterable[Output]:
        facts = [(SubKind.INDEX_PRICES, IndexPrice(exact(m.p)))]
        return told(self, channels.INDEX, m.i, facts, times=(m.E * _MS, now))

    def _shutdown(self, _m: messages.ServerShutdown, _now: int) -> Iterable[Output]:
        return (Info(InfoAction.RECONNECT, message="serverShutdown"),)

    def _answer(self, m: messages.Answer, _now: int) -> Iterable[Output]:
        request_id = None if m.id is None else str(m.id)
        fault = m.error
        if fault is None and m.code is not None:
            fault = messages.Fault(m.code, m.msg)
        if fault is not None:
            return (Refusal(error_of(fault), request_id),)
        if bytes(m.result) != _NULL:
            said = bytes(m.result).decode()
            error = Exchange(f"the answer to a subscription is null, was {said!r}")
            return (Refusal(error, request_id),)
        return (Ack(request_id),)


def error_of(fault: messages.Fault, **about: Any) -> Exchange:  # noqa: ANN401  status, headers, retry_after
    """Turn a code and its message into an error."""
    text = f"{fault.code}: {fault.msg}"
    kind = RateLimited if fault.code == _TOO_MANY_REQUESTS else Exchange
    return kind(text, code=str(fault.code), **about)
