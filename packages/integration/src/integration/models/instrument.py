"""Instruments: as market data names them, and with all terms of the contract.

`MarketDataInstrument` identifies what a stream is about (base, quote, kind) and is
what subscriptions and events carry. `Instrument` adds the venue's names, contract
terms and order limits. JSON forms follow barter-instrument, so that configuration
files are interchangeable: a kind is `"spot"`, `"perpetual"`,
`{"future":{"expiry":ms}}` or `{"option":{...}}`.

Does not know any venue's symbol spelling; that is each connector's `symbols`.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NewType, TypeAlias

import msgspec

from integration.models.asset import (
    AssetNameInternal,
    Underlying,
    asset_name_internal,
)
from integration.models.exchange import ExchangeId
from netcore.models import Model, Timestamp

__all__ = [
    "DatedKind",
    "FutureContract",
    "FutureTerms",
    "Instrument",
    "InstrumentKind",
    "InstrumentNameExchange",
    "InstrumentNameInternal",
    "InstrumentSpec",
    "MarketDataInstrument",
    "NotionalSpec",
    "OptionContract",
    "OptionExercise",
    "OptionKind",
    "OptionTerms",
    "PerpetualContract",
    "PriceSpec",
    "QuantitySpec",
    "QuantityUnit",
    "QuoteAsset",
    "SpotContract",
    "instrument_name_internal",
]

_NS_PER_MS = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

InstrumentNameInternal = NewType("InstrumentNameInternal", str)
InstrumentNameExchange = NewType("InstrumentNameExchange", str)


class InstrumentKind(StrEnum):
    """The coarse kind of an instrument."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    FUTURE = "future"
    OPTION = "option"


class OptionKind(StrEnum):
    """The right an option gives."""

    CALL = "call"
    PUT = "put"


class OptionExercise(StrEnum):
    """When an option may be exercised."""

    AMERICAN = "american"
    BERMUDAN = "bermudan"
    EUROPEAN = "european"


class FutureTerms(Model, frozen=True):
    """When a future settles."""

    expiry_ms: int = msgspec.field(name="expiry")
    """Milliseconds since the epoch, the unit of the JSON form."""

    @property
    def expiry(self) -> Timestamp:
        """Nanoseconds since the epoch."""
        return self.expiry_ms * _NS_PER_MS


class OptionTerms(Model, frozen=True):
    """What an option gives, and until when."""

    kind: OptionKind
    exercise: OptionExercise
    expiry_ms: int = msgspec.field(name="expiry")
    strike: Decimal

    @property
    def expiry(self) -> Timestamp:
        """Nanoseconds since the epoch."""
        return self.expiry_ms * _NS_PER_MS


class DatedKind(Model, frozen=True, omit_defaults=True):
    """The kind of an instrument that expires: exactly one of the two is set.

    Raises:
        ValueError: none or both are set.
    """

    future: FutureTerms | None = None
    option: OptionTerms | None = None

    def __post_init__(self) -> None:
        if (self.future is None) == (self.option is None):
            msg = "a dated kind is either a future or an option: set exactly one"
            raise ValueError(msg)


PlainKind: TypeAlias = Literal["spot", "perpetual"]


class MarketDataInstrument(Model, frozen=True):
    """What a market-data stream is about.

    Attributes:
        base: what is priced, lower case.
        quote: what it is priced in, lower case.
        instrument_kind: `"spot"`, `"perpetual"` or a `DatedKind`.
    """

    base: str
    quote: str
    instrument_kind: PlainKind | DatedKind = "spot"

    def __post_init__(self) -> None:
        if not self.base or not self.quote:
            msg = (
                "an instrument needs a base and a quote, "
                f"was base={self.base!r} quote={self.quote!r}"
            )
            raise ValueError(msg)
        if self.base != self.base.lower() or self.quote != self.quote.lower():
            msg = (
                "asset names are lower case, "
                f"was base={self.base!r} quote={self.quote!r}: use .lower()"
            )
            raise ValueError(msg)

    @classmethod
    def spot(cls, base: str, quote: str) -> "MarketDataInstrument":
        """Name the exchange of one asset for another at once."""
        return cls(base.lower(), quote.lower(), "spot")

    @classmethod
    def perpetual(cls, base: str, quote: str) -> "MarketDataInstrument":
        """Name a future without expiry."""
        return cls(base.lower(), quote.lower(), "perpetual")

    @classmethod
    def future(
        cls, base: str, quote: str, *, expiry: Timestamp
    ) -> "MarketDataInstrument":
        """Name a future; `expiry` in ns, kept to the millisecond."""
        terms = FutureTerms(expiry_ms=expiry // _NS_PER_MS)
        return cls(base.lower(), quote.lower(), DatedKind(future=terms))

    @classmethod
    def option(
        cls,
        base: str,
        quote: str,
        *,
        kind: OptionKind,
        strike: Decimal,
        expiry: Timestamp,
        exercise: OptionExercise = OptionExercise.EUROPEAN,
    ) -> "MarketDataInstrument":
        """Name an option; `expiry` in ns, kept to the millisecond."""
        terms = OptionTerms(
            kind=kind,
            exercise=exercise,
            expiry_ms=expiry // _NS_PER_MS,
            strike=strike,
        )
        return cls(base.lower(), quote.lower(), DatedKind(option=terms))

    @property
    def kind(self) -> InstrumentKind:
        """The coarse kind."""
        kind = self.instrument_kind
        if not isinstance(kind, DatedKind):
            return InstrumentKind(kind)
        if kind.future is not None:
            return InstrumentKind.FUTURE
        return InstrumentKind.OPTION

    @property
    def expiry(self) -> Timestamp | None:
        """When a future or an option ends, in ns; None for the others."""
        kind = self.instrument_kind
        if not isinstance(kind, DatedKind):
            return None
        terms = kind.future or kind.option
        return None if terms is None else terms.expiry

    @property
    def name(self) -> str:
        """The display form, such as `btc_usdt_spot`; the key of a book."""
        return f"{self.base}_{self.quote}_{_kind_display(self.instrument_kind)}"

    def __str__(self) -> str:
        return self.name


def _kind_display(kind: PlainKind | DatedKind) -> str:
    if not isinstance(kind, DatedKind):
        return kind
    if kind.future is not None:
        return f"future_{_day(kind.future.expiry_ms)}-UTC"
    option = kind.option
    assert option is not None, "DatedKind's constructor sets one of the two"  # noqa: S101  narrows the type; the invariant is the constructor's
    return (
        f"option_{option.kind}_{option.exercise}_"
        f"{_day(option.expiry_ms)}-UTC_{option.strike}"
    )


def _day(milliseconds: int) -> str:
    return (_EPOCH + dt.timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%d")


class SpotContract(Model, frozen=True, tag="spot", tag_field="type"):
    """A spot instrument: the contract is one unit of the base."""

    @property
    def contract_size(self) -> Decimal:
        """Always one."""
        return Decimal(1)


class PerpetualContract(Model, frozen=True, tag="perpetual", tag_field="type"):
    """A perpetual future: one contract is `contract_size` units."""

    contract_size: Decimal
    settlement_asset: AssetNameInternal


class FutureContract(Model, frozen=True, tag="future", tag_field="type"):
    """A dated future."""

    contract_size: Decimal
    settlement_asset: AssetNameInternal
    expiry_ms: int = msgspec.field(name="expiry")


class OptionContract(Model, frozen=True, tag="option", tag_field="type"):
    """An option."""

    contract_size: Decimal
    settlement_asset: AssetNameInternal
    kind: OptionKind
    exercise: OptionExercise
    expiry_ms: int = msgspec.field(name="expiry")
    strike: Decimal


class QuantityUnit(StrEnum):
    """In what an order's quantity is counted."""

    ASSET = "asset"
    CONTRACT = "contract"
    QUOTE = "quote"


class PriceSpec(Model, frozen=True):
    """The lowest price, the step between prices, and the highest if there is one."""

    min: Decimal
    tick_size: Decimal
    max: Decimal | None = None


class QuantitySpec(Model, frozen=True):
    """The unit, lowest value and step of quantities; `asset` names the unit.

    `max` is the most of one limit order, None where the venue states none.
    """

    unit: QuantityUnit
    min: Decimal
    increment: Decimal
    asset: AssetNameInternal | None = None
    max: Decimal | None = None


class NotionalSpec(Model, frozen=True):
    """The least price times quantity of an order."""

    min: Decimal


class InstrumentSpec(Model, frozen=True):
    """What the venue accepts as an order of this instrument."""

    price: PriceSpec
    quantity: QuantitySpec
    notional: NotionalSpec


class QuoteAsset(StrEnum):
    """Which of the two underlying assets prices are stated in."""

    UNDERLYING_BASE = "underlying_base"
    UNDERLYING_QUOTE = "underlying_quote"


class Instrument(Model, frozen=True):
    """An instrument of one exchange with every term that trading it needs."""

    exchange: ExchangeId
    name_internal: InstrumentNameInternal
    name_exchange: InstrumentNameExchange
    underlying: Underlying
    kind: SpotContract | PerpetualContract | FutureContract | OptionContract
    quote: QuoteAsset = QuoteAsset.UNDERLYING_QUOTE
    spec: InstrumentSpec | None = None

    def market_data(self) -> MarketDataInstrument:
        """Name this instrument as subscriptions and events do."""
        base, quote = self.underlying.base, self.underlying.quote
        match self.kind:
            case SpotContract():
                return MarketDataInstrument(base, quote, "spot")
            case PerpetualContract():
                return MarketDataInstrument(base, quote, "perpetual")
            case FutureContract(expiry_ms=expiry_ms):
                terms = FutureTerms(expiry_ms=expiry_ms)
                return MarketDataInstrument(base, quote, DatedKind(future=terms))
            case OptionContract() as option:
                return MarketDataInstrument(
                    base,
                    quote,
                    DatedKind(
                        option=OptionTerms(
                            kind=option.kind,
                            exercise=option.exercise,
                            expiry_ms=option.expiry_ms,
                            strike=option.strike,
                        )
                    ),
                )

    def assets(self) -> tuple[AssetNameInternal, ...]:
        """Return every asset this instrument speaks of, each once."""
        names = [self.underlying.base, self.underlying.quote]
        if not isinstance(self.kind, SpotContract):
            names.append(self.kind.settlement_asset)
        if self.spec is not None and self.spec.quantity.asset is not None:
            names.append(self.spec.quantity.asset)
        return tuple(dict.fromkeys(names))


def instrument_name_internal(
    exchange: ExchangeId, name_exchange: str | None = None, *, underlying: str = ""
) -> InstrumentNameInternal:
    """Join our name of an instrument: `exchange-name`, lower case.

    Args:
        exchange: where it is listed.
        name_exchange: the venue's symbol, if known.
        underlying: `base_quote`, used where the symbol is not known.

    Raises:
        ValueError: neither name is given.
    """
    name = name_exchange or underlying
    if not name:
        msg = "an instrument name needs name_exchange or underlying='base_quote'"
        raise ValueError(msg)
    return InstrumentNameInternal(asset_name_internal(f"{exchange}-{name}"))
