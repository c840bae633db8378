"""Compares the venue's candles with those that its trades make.

A stream that carries both can be audited as it runs: what differs says that trades
were lost or repeated, or that the venue counts otherwise. Rules that are known to
differ are rows of a table here, so that they are not reported:

* *open*: the first trade's price nearly everywhere; at BitMEX and Bybit the close of
  the candle before, which high and low may or may not take in;
* *volume* is compared only where candle and trades are counted in the same unit: the
  candles of Deribit's inverse contracts count the base, its trades dollars;
* *trade count*, *closed* and *close time* only where the venue sends them. A candle
  that it never calls closed is final once a later one has come;
* an interval without trades has no candle, or a flat one without volume: both are one;
* block trades and insurance fund moves are in no candle (`CandleMaker.leave_out`).

Pure: time is that of the events. What began before we listened is not compared.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final, TypeAlias, final

from integration.market.candles import CandleMaker, interval_ns
from integration.market.reports import Reconnecting
from integration.models import (
    Candle,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    TradeFlag,
)
from netcore.models import Model, Timestamp

__all__ = ["OPENS_AT_THE_CLOSE_BEFORE", "CandleDifference", "CandleParity"]

OPENS_AT_THE_CLOSE_BEFORE: Final = frozenset(
    {
        ExchangeId.BITMEX,
        ExchangeId.BYBIT_SPOT,
        ExchangeId.BYBIT_PERPETUALS_USD,
    }
)
"""BitMEX documents it (https://www.bitmex.com/api/explorer, Trade/bucketed); of Bybit
it is what its charts show, not confirmed against a live feed."""

_Key: TypeAlias = tuple[ExchangeId, MarketDataInstrument]

_KEPT: Final = 1000
"""Candles of an instrument that wait for their counterpart, at most."""


class CandleDifference(Model, frozen=True):
    """A candle of the venue that its trades do not make.

    Attributes:
        exchange: whose.
        instrument: of what.
        interval: such as `1m`.
        open_time: which one, ns.
        fields: by name: what the venue says, and what the trades make; None on a side
            that has no candle.
    """

    exchange: ExchangeId
    instrument: MarketDataInstrument
    interval: str
    open_time: Timestamp
    fields: Mapping[str, tuple[Decimal | int | None, Decimal | int | None]]


@final
class _Ledger:
    """One instrument's candles that wait to be compared."""

    __slots__ = ("before", "heard", "latest", "ours", "since", "theirs", "traded")

    def __init__(self) -> None:
        self.since: Timestamp | None = None
        self.ours: dict[Timestamp, tuple[Candle, Decimal | None]] = {}
        self.theirs: dict[Timestamp, Candle] = {}
        self.latest: Candle | None = None
        self.heard: Timestamp | None = None
        """The venue's first candle: before it, having none means nothing."""
        self.before: Decimal | None = None
        self.traded: Timestamp = 0
        """Until when our candles are closed."""


@final
class CandleParity:
    """Audits the candles of one interval, of any number of instruments.

    Args:
        interval: such as `1m`; candles of others are passed over.
        leave_out: trades that make no candle.

    Attributes:
        compared: how many candles had a counterpart.

    Raises:
        ValueError: the interval is not one of `candles.interval_ns`.
    """

    def __init__(
        self,
        interval: str,
        *,
        leave_out: TradeFlag = TradeFlag.BLOCK | TradeFlag.INSURANCE_FUND,
    ) -> None:
        self.compared = 0
        self._interval = interval
        self._leave_out = leave_out
        self._length = interval_ns(interval)
        self._maker = CandleMaker(interval, leave_out=leave_out)
        self._ledgers: dict[_Key, _Ledger] = {}

    def take(self, events: Iterable[object]) -> list[CandleDifference]:
        """Count trades and candles among events; return what differs.

        Args:
            events: of a market stream. `Reconnecting` begins anew for the instruments
                of the connection: trades were missed.
        """
        found: list[CandleDifference] = []
        for event in events:
            if isinstance(event, Reconnecting):
                self._forget(event)
            elif isinstance(event, MarketEvent):
                key = event.exchange, event.instrument
                if isinstance(event.kind, PublicTrade):
                    self._trade(key, event)
                elif isinstance(event.kind, Candle):
                    self._candle(key, event.kind)
                else:
                    continue
                found.extend(self._settled(key))
        return found

    def close(self, now: Timestamp) -> list[CandleDifference]:
        """Close our candles that were over by `now`, and compare them.

        Give a time by which their last trades have surely come.
        """
        self._made(self._maker.close(now))
        over = now - self._length + 1
        for ledger in self._ledgers.values():
            ledger.traded = max(ledger.traded, over)
        return [found for key in self._ledgers for found in self._settled(key)]

    def _forget(self, lost: Reconnecting) -> None:
        for instrument in lost.instruments:
            self._ledgers.pop((lost.exchange, instrument), None)
        # Candles in the making lack what was missed; none of them counts any more.
        self._maker = CandleMaker(self._interval, leave_out=self._leave_out)
        for ledger in self._ledgers.values():
            ledger.since = None

    def _ledger(self, key: _Key) -> _Ledger:
        return self._ledgers.setdefault(key, _Ledger())

    def _trade(self, key: _Key, event: MarketEvent) -> None:
        ledger = self._ledger(key)
        if ledger.since is None:
            ledger.since = event.time_exchange
        self._made(self._maker.take((event,)))

    def _made(self, events: Iterable[MarketEvent]) -> None:
        for event in events:
            assert isinstance(event.kind, Candle), "a maker makes candles"  # noqa: S101  narrows the type
            ledger = self._ledger((event.exchange, event.instrument))
            candle = event.kind
            if ledger.since is not None and candle.open_time > ledger.since:
                ledger.ours[candle.open_time] = candle, ledger.before
            ledger.before = candle.close
            ledger.traded = event.time_exchange

    def _candle(self, key: _Key, candle: Candle) -> None:
        if candle.interval != self._interval:
            return
        ledger = self._ledger(key)
        last = ledger.latest
        if ledger.heard is None:
            ledger.heard = candle.open_time
        if last is not None and candle.open_time > last.open_time and not last.closed:
            self._final(ledger, last)
        if last is None or candle.open_time >= last.open_time:
            ledger.latest = candle
        if candle.closed:
            self._final(ledger, candle)

    def _final(self, ledger: _Ledger, candle: Candle) -> None:
        if ledger.since is not None and candle.open_time > ledger.since:
            ledger.theirs[candle.open_time] = candle
            while len(ledger.theirs) > _KEPT:
                del ledger.theirs[next(iter(ledger.theirs))]

    def _settled(self, key: _Key) -> Iterator[CandleDifference]:
        """Compare the candles of which both sides have been heard."""
        ledger = self._ledgers[key]
        for time in sorted(t for t in ledger.theirs if t < ledger.traded):
            theirs = ledger.theirs.pop(time)
            ours, before = ledger.ours.pop(time, (None, None))
            if ours is None and not theirs.volume:
                continue
            self.compared += 1
            yield from self._compared(key, time, _fields(key[0], theirs, ours, before))
            # What the venue had no candle for, though trades made one.
            for missed in sorted(t for t in ledger.ours if t < time):
                lost, _ = ledger.ours.pop(missed)
                if ledger.heard is None or missed < ledger.heard:
                    continue
                absent = {"volume": (None, lost.volume)}
                yield from self._compared(key, missed, absent)
        while len(ledger.ours) > _KEPT:
            del ledger.ours[next(iter(ledger.ours))]

    def _compared(
        self,
        key: _Key,
        time: Timestamp,
        fields: Mapping[str, tuple[Decimal | int | None, Decimal | int | None]],
    ) -> Iterator[CandleDifference]:
        differing = {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
        if differing:
            exchange, instrument = key
            yield CandleDifference(
                exchange, instrument, self._interval, time, differing
            )


def _fields(
    exchange: ExchangeId, theirs: Candle, ours: Candle | None, before: Decimal | None
) -> dict[str, tuple[Decimal | int | None, Decimal | int | None]]:
    """Put side by side what both candles say."""
    if ours is None:
        return {"volume": (theirs.volume, None)}
    opening, high, low = ours.open, ours.high, ours.low
    if exchange in OPENS_AT_THE_CLOSE_BEFORE:
        opening = theirs.open if before is None else before
        # Whether the opening price counts as a high or a low is left to the venue.
        high = theirs.high if theirs.high == max(high, opening) else high
        low = theirs.low if theirs.low == min(low, opening) else low
    fields: dict[str, tuple[Decimal | int | None, Decimal | int | None]] = {
        "open": (theirs.open, opening),
        "high": (theirs.high, high),
        "low": (theirs.low, low),
        "close": (theirs.close, ours.close),
    }
    if theirs.amount_unit is ours.amount_unit:
        fields["volume"] = (theirs.volume, ours.volume)
    if theirs.trade_count is not None:
        fields["trade_count"] = (theirs.trade_count, ours.trade_count)
    if theirs.close_time is not None:
        fields["close_time"] = (theirs.close_time, ours.close_time)
    return fields
