"""Candles made of trades, for venues and intervals that have none of their own.

Pure: time is that of the trades. A candle is closed by the first trade of a later
interval, or by `close`, to which the caller's clock gives the time; intervals without
trades are left out unless `fill` asks for them. Corrections, funding and index prices
make no candle; which trades count is what `TradeFlag` is for.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, final

from integration.models import (
    AmountUnit,
    Candle,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    TradeFlag,
)
from netcore.models import Timestamp

__all__ = ["CandleMaker", "interval_ns"]

_UNITS: Final = {
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_MS: Final = 1_000_000
_MONDAY: Final = 4 * 86_400_000_000_000
"""1970-01-05, from which weeks count at every venue we know (ISO 8601)."""


def interval_ns(interval: str) -> int:
    """Return how long an interval such as `1m`, `4h` or `1w` is, in ns.

    Raises:
        ValueError: it is not spelled so. Months have no one length.
    """
    found = re.fullmatch(r"([1-9]\d*)([smhdw])", interval)
    if found is None:
        msg = f"an interval is a number and one of s, m, h, d, w; was {interval!r}"
        raise ValueError(msg)
    return int(found[1]) * _UNITS[found[2]]


@final
class _Open:
    """A candle that is growing."""

    __slots__ = ("close", "count", "high", "low", "open", "start", "unit", "volume")

    def __init__(self, start: Timestamp, price: Decimal, unit: AmountUnit) -> None:
        self.start = start
        self.open = self.high = self.low = self.close = price
        self.volume = Decimal(0)
        self.count = 0
        self.unit = unit

    def take(self, trade: PublicTrade) -> None:
        price = trade.price
        if not self.count:  # flat so far, at the price of the one before
            self.open = self.high = self.low = price
        self.close = price
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.volume += trade.amount
        self.count += trade.count or 1


@final
class CandleMaker:
    """Makes the candles of one interval, of any number of instruments.

    Args:
        interval: such as `1m`; intervals begin at whole multiples of it since the
            epoch (UTC), weeks on Mondays.
        leave_out: trades with one of these flags are not counted. Replayed trades are:
            give each only once.
        fill: whether intervals without trades become flat candles of no volume.

    Attributes:
        late: trades left out because their candle was closed before they came.

    Raises:
        ValueError: the interval is not one of `interval_ns`.
    """

    def __init__(
        self,
        interval: str,
        *,
        leave_out: TradeFlag = TradeFlag.BLOCK | TradeFlag.INSURANCE_FUND,
        fill: bool = False,
    ) -> None:
        self.interval = interval
        self.late = 0
        self._length = interval_ns(interval)
        self._offset = _MONDAY if interval.endswith("w") else 0
        self._leave_out = leave_out
        self._fill = fill
        self._growing: dict[tuple[ExchangeId, MarketDataInstrument], _Open] = {}
        self._closed: dict[tuple[ExchangeId, MarketDataInstrument], Timestamp] = {}

    def take(self, events: Iterable[object]) -> list[MarketEvent]:
        """Count the trades among events; return the candles that they closed.

        Args:
            events: of a market stream; all but trades are passed over.
        """
        closed: list[MarketEvent] = []
        for event in events:
            if isinstance(event, MarketEvent) and type(event.kind) is PublicTrade:
                closed.extend(self._trade(event, event.kind))
        return closed

    def _trade(self, event: MarketEvent, trade: PublicTrade) -> list[MarketEvent]:
        if trade.flags & self._leave_out:
            return []
        key = event.exchange, event.instrument
        start = self._start(event.time_exchange)
        growing = self._growing.get(key)
        if start < self._closed.get(key, start):
            self.late += 1
            return []
        closed = []
        if growing is not None and start > growing.start:
            closed = self._close(key, growing, start, event.time_received)
            growing = None
        if growing is None:
            growing = _Open(start, trade.price, trade.amount_unit)
            self._growing[key] = growing
            self._closed[key] = start
        if growing.unit is not trade.amount_unit:
            msg = f"{event.instrument}: {growing.unit} and {trade.amount_unit} mixed"
            raise ValueError(msg)
        growing.take(trade)
        return closed

    def _start(self, time: Timestamp) -> Timestamp:
        since = time - self._offset
        return since - since % self._length + self._offset

    def close(self, now: Timestamp) -> list[MarketEvent]:
        """Return the candles whose interval was over by `now`, ns since epoch.

        Give a time by which their last trades have surely come.
        """
        closed: list[MarketEvent] = []
        for key, growing in list(self._growing.items()):
            start = self._start(now)
            if start > growing.start:
                closed.extend(self._close(key, growing, start, now))
                if not self._fill:
                    del self._growing[key]
                    continue
                flat = _Open(start, growing.close, growing.unit)
                self._growing[key] = flat
        return closed

    def growing(self, exchange: ExchangeId, instrument: MarketDataInstrument) -> Candle:
        """Return the candle that is not closed yet.

        Raises:
            KeyError: there was no trade in it.
        """
        return self._candle(self._growing[exchange, instrument], closed=False)

    def _close(
        self,
        key: tuple[ExchangeId, MarketDataInstrument],
        growing: _Open,
        until: Timestamp,
        now: Timestamp,
    ) -> list[MarketEvent]:
        self._closed[key] = until
        candles = [self._candle(growing, closed=True)]
        if self._fill:
            starts = range(growing.start + self._length, until, self._length)
            for start in starts:
                flat = _Open(start, growing.close, growing.unit)
                candles.append(self._candle(flat, closed=True))
        return [
            MarketEvent(candle.open_time + self._length, now, *key, candle)
            for candle in candles
        ]

    def _candle(self, made: _Open, *, closed: bool) -> Candle:
        return Candle(
            interval=self.interval,
            open_time=made.start,
            close_time=made.start + self._length - _MS,
            open=made.open,
            high=made.high,
            low=made.low,
            close=made.close,
            volume=made.volume,
            trade_count=made.count,
            closed=closed,
            amount_unit=made.unit,
        )
