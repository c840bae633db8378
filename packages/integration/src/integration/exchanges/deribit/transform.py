"""Deribit's messages into events.

Amounts of inverse contracts (quoted in US dollars) count dollars, all others the
base. `trade_seq` has no holes: one that jumps says that trades were lost.
"""

from collections.abc import Iterable

import msgspec

from integration.errors import Exchange, RateLimited, SequenceGap
from integration.exchanges.deribit import channels, messages
from integration.exchanges.shared import level, side_of, told
from integration.market.connector import RouteTable, VenueTransformer
from integration.market.notices import (
    Ack,
    Heartbeat,
    Ignored,
    Output,
    Refusal,
    Reply,
)
from integration.market.numbers import plain
from integration.models import (
    AmountUnit,
    Candle,
    DataKind,
    ExchangeId,
    FundingRate,
    IndexPrice,
    InstrumentKind,
    MarketDataInstrument,
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
    TradeFlag,
    subscription_id,
)

__all__ = ["DeribitTransformer"]

_MS = 1_000_000
_TOO_MANY_REQUESTS = 10028

_TEST_ID = 3
_ALIVE = msgspec.json.encode(
    {"jsonrpc": "2.0", "id": _TEST_ID, "method": "public/test", "params": {}}
)


class DeribitTransformer(VenueTransformer[messages.Frame]):
    """One connection to Deribit."""

    def __init__(self, exchange: ExchangeId, routes: RouteTable | None = None) -> None:
        super().__init__(exchange, routes)
        self._last_trade: dict[str, int] = {}

    decode = staticmethod(messages.decode)

    def transform(
        self, message: messages.Frame, time_received: int
    ) -> Iterable[Output]:
        """Turn one message into outputs."""
        params = message.params
        if message.method == "heartbeat" and params is not None:
            # An unanswered test request ends the connection.
            asked = params.type == "test_request"
            return (Heartbeat(), Reply(_ALIVE)) if asked else (Heartbeat(),)
        if params is None:
            return (_answer(message),)
        channel, market = _split(params.channel)
        instrument = self.routes.get(channel, market)
        if instrument is None:
            return self.unidentified(channel, market)
        match channel:
            case channels.TRADE:
                return self._trades(params, market, instrument, time_received)
            case channels.BOOK:
                return (self._book(params, instrument, time_received),)
            case channels.QUOTE:
                return (self._quote(params, instrument, time_received),)
            case channels.TICKER:
                ticker = messages.result(params, messages.Ticker)
                times = (ticker.timestamp * _MS, time_received)
                facts = _facts(ticker, _unit(instrument))
                return told(self, channel, market, facts, times=times)
            case _ if channel.startswith(channels.CHART):
                candle = _candle(channel, messages.result(params, messages.Candle))
                now = time_received
                return (MarketEvent(now, now, self.exchange, instrument, candle),)
            case _:
                return (Ignored(f"channel {channel}"),)

    def _trades(
        self,
        params: messages.Params,
        market: str,
        instrument: MarketDataInstrument,
        now: int,
    ) -> Iterable[Output]:
        outputs: list[Output] = []
        unit = _unit(instrument)
        for t in messages.result(params, list[messages.Trade]):
            last = self._last_trade.get(market)
            if last is not None and t.trade_seq > last + 1:
                outputs.append(
                    SequenceGap(market, expected=last + 1, actual=t.trade_seq)
                )
            self._last_trade[market] = t.trade_seq
            plain(t.price)
            plain(t.amount)
            flags = TradeFlag.NONE
            if t.liquidation is not None:
                flags |= TradeFlag.LIQUIDATION
            if t.block_trade_id is not None:
                flags |= TradeFlag.BLOCK
            trade = PublicTrade(
                t.trade_id,
                t.price,
                t.amount,
                side_of(t.direction),
                unit,
                flags,
                t.trade_seq,
            )
            outputs.append(
                MarketEvent(t.timestamp * _MS, now, self.exchange, instrument, trade)
            )
        return outputs

    def _book(
        self, params: messages.Params, instrument: MarketDataInstrument, now: int
    ) -> Output:
        b = messages.result(params, messages.Book)
        bids, asks, unit = _pairs(b.bids), _pairs(b.asks), _unit(instrument)
        kind: OrderBookSnapshot | OrderBookUpdate
        if b.type == "snapshot":
            kind = OrderBookSnapshot(bids, asks, b.change_id, amount_unit=unit)
        else:
            kind = OrderBookUpdate(
                bids,
                asks,
                b.change_id,
                prev_sequence=b.prev_change_id,
                amount_unit=unit,
            )
        return MarketEvent(b.timestamp * _MS, now, self.exchange, instrument, kind)

    def _quote(
        self, params: messages.Params, instrument: MarketDataInstrument, now: int
    ) -> Output:
        q = messages.result(params, messages.Quote)
        time = q.timestamp * _MS
        bid = level(q.best_bid_price, q.best_bid_amount)
        ask = level(q.best_ask_price, q.best_ask_amount)
        top = OrderBookL1(time, bid, ask, amount_unit=_unit(instrument))
        return MarketEvent(time, now, self.exchange, instrument, top)


def _unit(instrument: MarketDataInstrument) -> AmountUnit:
    inverse = instrument.quote == "usd" and instrument.kind is not InstrumentKind.OPTION
    return AmountUnit.QUOTE if inverse else AmountUnit.BASE


def _facts(t: messages.Ticker, unit: AmountUnit) -> Iterable[tuple[SubKind, DataKind]]:
    for number in (t.mark_price, t.index_price, t.open_interest):
        plain(number)
    yield SubKind.MARK_PRICES, MarkPrice(t.mark_price)
    yield SubKind.INDEX_PRICES, IndexPrice(t.index_price)
    yield SubKind.OPEN_INTEREST, OpenInterest(t.open_interest, unit)
    if t.current_funding is not None:
        plain(abs(t.current_funding))
        # It is paid continuously: there is no next time.
        rate = FundingRate(t.current_funding, None, t.mark_price, t.index_price)
        yield SubKind.FUNDING_RATES, rate


def _candle(channel: str, c: messages.Candle) -> Candle:
    for number in (c.open, c.high, c.low, c.close, c.volume):
        plain(number)
    interval = channels.INTERVALS.get(channel.removeprefix(channels.CHART), channel)
    return Candle(
        interval, c.tick * _MS, None, c.open, c.high, c.low, c.close, c.volume
    )


def _pairs(changes: list[messages.Change]) -> list[RawLevel]:
    return [
        (plain(c.price), "0" if c.action == "delete" else plain(c.amount))
        for c in changes
    ]


def _split(channel: str) -> tuple[str, str]:
    if channel.startswith(channels.CHART):
        market, _, resolution = channel.removeprefix(channels.CHART).partition(".")
        return channels.CHART + resolution, market
    name, _, rest = channel.partition(".")
    # Interval last, except of quotes; instruments have no point in their names.
    return name, rest.partition(".")[0]


def _answer(m: messages.Frame) -> Output:
    request_id = None if m.id is None else str(m.id)
    if m.error is not None:
        code = m.error.code
        kind = RateLimited if code == _TOO_MANY_REQUESTS else Exchange
        error = kind(f"{code}: {m.error.message}", code=str(code))
        return Refusal(error, request_id)
    if not isinstance(m.result, list):
        return Ignored("the answer to a setting or a test")
    topics: tuple[SubscriptionId, ...] = tuple(
        subscription_id(*_split(str(channel))) for channel in m.result
    )
    return Ack(request_id, topics)
