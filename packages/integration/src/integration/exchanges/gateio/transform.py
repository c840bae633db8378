"""Gate.io's messages into events.

Derivatives count contracts; the sign of a size is a side, the amount its absolute
value. A message may carry rows of several contracts: each is routed by itself.
"""

from collections.abc import Iterable
from decimal import Decimal

from integration.errors import Exchange
from integration.exchanges.gateio import channels, messages
from integration.exchanges.shared import level_of, side_of, told
from integration.fields import decimal_of, ns_from_decimal_ms
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import Ack, Ignored, Output, Pong, Refusal
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
    OrderBookUpdate,
    PublicTrade,
    RawLevel,
    Side,
    SubKind,
)

__all__ = ["GateioTransformer", "contract_levels"]

_MS = 1_000_000
_SECOND = 10**9
_OLD_FAMILY = "perpetual."
"""What the `futures.` channels were once called."""


class GateioTransformer(VenueTransformer[messages.Envelope]):
    """One connection to one of Gate.io's servers."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._spot = exchange is ExchangeId.GATEIO_SPOT
        self._unit = AmountUnit.BASE if self._spot else AmountUnit.CONTRACT

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Envelope, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        name = message.channel.partition(".")[2]
        if name == "pong":
            return (Pong(),)
        if message.error is not None:
            fault = message.error
            error = Exchange(f"{fault.code}: {fault.message}", code=str(fault.code))
            return (Refusal(error, channel=message.channel),)
        match message.event, name:
            case "subscribe", _:
                return (Ack(channel=message.channel),)
            case "unsubscribe", _:
                return (Ignored(f"left {message.channel}"),)
            case _, channels.TRADE:
                return self._trades(message, time_received)
            case _, channels.TICKER:
                return self._ticker(message, time_received)
            case _, channels.BOOK:
                return self._book(message, time_received)
            case _, channels.LIQUIDATION:
                return self._liquidations(message, time_received)
            case _, channels.CANDLES | channels.CONTRACT_CANDLES:
                return self._candles(message, time_received)
            case _, channels.TICKERS | channels.CONTRACT_TICKERS:
                return self._facts(message, time_received)
            case _:
                return (Ignored(f"{message.channel} {message.event}"),)

    def _event(
        self, channel: str, market: str, time: int, now: int, kind: DataKind
    ) -> Output:
        instrument = self.routes.get(channel, market)
        if instrument is None and channel.startswith(_OLD_FAMILY):
            new = channel.replace(_OLD_FAMILY, "futures.")
            instrument = self.routes.get(new, market)
        if instrument is None:
            return self.unidentified(channel, market)[0]
        return MarketEvent(time, now, self.exchange, instrument, kind)

    def _trades(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        if self._spot:
            t = messages.result(m, messages.SpotTrade)
            trade = PublicTrade(
                str(t.id), exact(t.price), exact(t.amount), side_of(t.side)
            )
            time = ns_from_decimal_ms(t.create_time_ms)
            return (self._event(m.channel, t.currency_pair, time, now, trade),)
        return [
            self._event(
                m.channel,
                t.contract,
                ns_from_decimal_ms(messages.text(t.create_time_ms)),
                now,
                PublicTrade(
                    str(t.id), exact(plain(t.price)), *_signed(t.size), self._unit
                ),
            )
            for t in messages.result(m, list[messages.ContractTrade])
        ]

    def _ticker(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        t = messages.result(m, messages.Ticker)
        text, time = messages.text, t.t * _MS
        bid, ask = level_of(text(t.b), text(t.B)), level_of(text(t.a), text(t.A))
        top = OrderBookL1(time, bid, ask, t.u, self._unit)
        return (self._event(m.channel, t.s, time, now, top),)

    def _book(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        if self._spot:
            u = messages.result(m, messages.BookUpdate)
            bids, asks = u.b, u.a
        else:
            u = messages.result(m, messages.FuturesBookUpdate)
            bids, asks = contract_levels(u.b), contract_levels(u.a)
        update = OrderBookUpdate(bids, asks, u.u, u.U, amount_unit=self._unit)
        return (self._event(m.channel, u.s, u.t * _MS, now, update),)

    def _liquidations(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        outputs = []
        for row in messages.result(m, list[messages.Liquidation]):
            time = ns_from_decimal_ms(messages.text(row.time_ms))
            amount, side = _signed(row.size)
            liquidation = Liquidation(
                side, exact(plain(row.price)), amount, time, amount_unit=self._unit
            )
            outputs.append(self._event(m.channel, row.contract, time, now, liquidation))
        return outputs

    def _candles(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        if self._spot:
            one = messages.result(m, messages.SpotCandle)
            numbers = [exact(x) for x in (one.o, one.h, one.l, one.c, one.a)]
            return (self._candle(m, one, numbers, now),)
        return [
            self._candle(
                m, c, [exact(plain(x)) for x in (c.o, c.h, c.l, c.c, c.v)], now
            )
            for c in messages.result(m, list[messages.ContractCandle])
        ]

    def _candle(
        self,
        m: messages.Envelope,
        c: messages.SpotCandle | messages.ContractCandle,
        numbers: list[Decimal],
        now: int,
    ) -> Output:
        name = c.n.partition("_")[0]
        first, high, low, last, volume = numbers
        candle = Candle(
            channels.INTERVALS.get(name, name),
            int(messages.text(c.t)) * _SECOND,
            None,
            first,
            high,
            low,
            last,
            volume,
            closed=c.w,
            amount_unit=self._unit,
        )
        return self._event(m.channel, c.n, _time(m, now), now, candle)

    def _facts(self, m: messages.Envelope, now: int) -> Iterable[Output]:
        times = (_time(m, now), now)
        if m.channel.endswith(channels.CONTRACT_TICKERS):
            o = messages.result(m, messages.OptionTicker)
            facts = self._prices(o, o.position_size, "")
            return told(self, m.channel, o.name, facts, times=times)
        return [
            output
            for t in messages.result(m, list[messages.ContractTicker])
            for output in told(
                self,
                m.channel,
                t.contract,
                self._prices(t, t.total_size, t.funding_rate),
                times=times,
            )
        ]

    def _prices(
        self,
        t: messages.ContractTicker | messages.OptionTicker,
        size: Decimal | None,
        funding: str,
    ) -> Iterable[tuple[SubKind, DataKind]]:
        mark, index = exact(plain(t.mark_price)), exact(plain(t.index_price))
        yield SubKind.MARK_PRICES, MarkPrice(mark)
        yield SubKind.INDEX_PRICES, IndexPrice(index)
        if size is not None:
            amount = exact(plain(size))
            yield SubKind.OPEN_INTEREST, OpenInterest(amount, self._unit)
        if funding:
            rate = FundingRate(decimal_of(funding), None, mark, index)
            yield SubKind.FUNDING_RATES, rate


def _time(m: messages.Envelope, now: int) -> int:
    return now if m.time_ms is None else m.time_ms * _MS


def _signed(size: Decimal) -> tuple[Decimal, Side]:
    """Split a signed size into amount and side."""
    return exact(plain(abs(size))), Side.SELL if size < 0 else Side.BUY


def contract_levels(levels: list[messages.FuturesLevel]) -> list[RawLevel]:
    """Spell levels of derivatives as text."""
    return [(plain(level.p), plain(level.s)) for level in levels]
