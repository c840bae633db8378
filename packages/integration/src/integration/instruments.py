"""The terms of a venue's instruments, loaded from the venue itself.

    loaded = await load_instruments(ExchangeId.BINANCE_SPOT)
    indexed = IndexedInstruments(loaded.instruments)

Each venue's folder has a module `instruments` with a `Listing` per exchange: which
documents to fetch, and how to read one. Reading is pure, bytes in and instruments
out; what cannot be traded, or cannot be expressed here, is not dropped in silence but
listed under `skipped` with the reason. Fetching is `load_instruments`.

Terms change (tick sizes do, about weekly somewhere): load again when a venue refuses
an order by a filter.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, TypeVar

import msgspec

from integration.errors import (
    UNDECODABLE,
    Deserialise,
    IntegrationError,
)
from integration.exchanges.registry import folder_of
from integration.fields import Number, decimal_of
from integration.models import (
    AmountUnit,
    AssetNameInternal,
    ExchangeId,
    FutureContract,
    Instrument,
    InstrumentNameExchange,
    InstrumentSpec,
    NotionalSpec,
    OptionContract,
    PerpetualContract,
    PriceSpec,
    QuantitySpec,
    QuantityUnit,
    SpotContract,
    Underlying,
    asset_name_internal,
    instrument_name_internal,
)
from integration.rest.client import RestClient
from integration.rest.parser import PlainParser
from integration.rest.request import Params, RestRequest
from integration.rest.signer import PublicNoHeaders
from integration.rest.transport import HttpTransport
from netcore.models import Model

__all__ = [
    "Fetch",
    "Listing",
    "LoadedInstruments",
    "Page",
    "Post",
    "Skipped",
    "base_amount",
    "decode_document",
    "listing_for",
    "load_instruments",
    "make_instrument",
    "make_spec",
    "power_of_ten",
    "read_each",
]

T = TypeVar("T")


class Fetch(RestRequest[msgspec.Raw], frozen=True):
    """Asks for a document; what it says is read by the listing."""

    response_type: ClassVar[Any] = msgspec.Raw
    timeout: ClassVar[float] = 30.0  # the longest are megabytes

    endpoint: str
    params: Mapping[str, str] = {}

    def path(self) -> str:
        """Return the endpoint's path."""
        return self.endpoint

    def query_params(self) -> Params:
        """Return what is asked for."""
        return self.params


class Post(Fetch, frozen=True):
    """The same where the question is a body; asking changes nothing."""

    method: ClassVar[str] = "POST"
    idempotent: ClassVar[bool | None] = True

    def query_params(self) -> Params:
        """Return nothing: the question is in the body."""
        return None

    def body(self) -> Mapping[str, str]:
        """Return what is asked for."""
        return self.params


class Skipped(Model, frozen=True):
    """A listing that is not among the instruments, and why."""

    symbol: str
    reason: str


class Page(Model, frozen=True):
    """What one document says.

    Attributes:
        instruments: Those that can be traded.
        skipped: The others.
        more: Documents to fetch next.
    """

    instruments: tuple[Instrument, ...]
    skipped: tuple[Skipped, ...] = ()
    more: tuple[Fetch, ...] = ()


class LoadedInstruments(Model, frozen=True):
    """All of a venue's instruments."""

    instruments: tuple[Instrument, ...]
    skipped: tuple[Skipped, ...] = ()


class Listing(ABC):
    """One exchange's instruments: where they are, and how they are read.

    Args:
        exchange: Whose.
        rest_url: Base URL.
    """

    def __init__(self, exchange: ExchangeId, rest_url: str) -> None:
        self.exchange = exchange
        self.rest_url = rest_url

    @abstractmethod
    def first(self) -> tuple[Fetch, ...]:
        """Return the documents to fetch first."""

    @abstractmethod
    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read a document.

        Raises:
            Deserialise: It is not what was asked for.
            Exchange: It is the venue's no.
        """


@cache
def listing_for(exchange: ExchangeId) -> Listing:
    """Return the listing of an exchange.

    Raises:
        Unsupported: There is none.
    """
    module = import_module(f"{folder_of(exchange)}.instruments")
    found: tuple[Listing, ...] = module.LISTINGS
    return next(listing for listing in found if listing.exchange is exchange)


async def load_instruments(
    exchange: ExchangeId,
    *,
    rest_url: str | None = None,
    transport: HttpTransport | None = None,
    client: RestClient | None = None,
) -> LoadedInstruments:
    """Fetch and read all instruments of an exchange.

    Args:
        exchange: Whose.
        rest_url: Base URL, where it is not the venue's own.
        transport: What sends; httpx if None. Ignored with a client.
        client: A client of the caller's, with its limiter; one is made if None.

    Raises:
        Unsupported: The exchange's instruments cannot be loaded.
        SocketError: The venue did not answer, or with something else.
    """
    listing = listing_for(exchange)
    if client is not None:
        return await _load(listing, client)
    made = RestClient(
        rest_url or listing.rest_url,
        PublicNoHeaders(),
        PlainParser(),
        transport=transport,
    )
    try:
        return await _load(listing, made)
    finally:
        if transport is None:
            await made.aclose()


async def _load(listing: Listing, client: RestClient) -> LoadedInstruments:
    todo = list(listing.first())
    found: dict[InstrumentNameExchange, Instrument] = {}
    skipped: list[Skipped] = []
    while todo:
        fetch = todo.pop(0)
        raw, _ = await client.execute(fetch)
        page = listing.read(fetch, bytes(raw))
        found.update((one.name_exchange, one) for one in page.instruments)
        skipped += page.skipped
        todo += page.more
    return LoadedInstruments(tuple(found.values()), tuple(skipped))


# What listings are made of


def decode_document(decoder: msgspec.json.Decoder[T], document: bytes) -> T:
    """Decode a document.

    Raises:
        Deserialise: It is not what the decoder expects.
    """
    try:
        return decoder.decode(document)
    except UNDECODABLE as error:
        raise Deserialise(str(error), document) from error


def read_each(
    records: Iterable[T],
    symbol: Callable[[T], str],
    read: Callable[[T], Instrument | str],
    *,
    more: tuple[Fetch, ...] = (),
) -> Page:
    """Read records one by one; one that cannot be read does not cost the others.

    Args:
        records: What the venue lists.
        symbol: Names a record.
        read: Makes an instrument of it, or says why not.
        more: Documents to fetch next.
    """
    found: list[Instrument] = []
    skipped: list[Skipped] = []
    for record in records:
        try:
            result = read(record)
        except (IntegrationError, ValueError, ArithmeticError, LookupError) as error:
            result = f"{type(error).__name__}: {error}"
        if isinstance(result, str):
            skipped.append(Skipped(symbol(record), result))
        else:
            found.append(result)
    return Page(tuple(found), tuple(skipped), more)


def make_instrument(
    exchange: ExchangeId,
    symbol: str,
    base: str,
    quote: str,
    kind: SpotContract | PerpetualContract | FutureContract | OptionContract,
    *,
    spec: InstrumentSpec | None,
) -> Instrument:
    """Put an instrument together.

    Raises:
        ValueError: A name is missing.
    """
    if not base or not quote:
        raise ValueError(f"base and quote are needed, were {base!r} and {quote!r}")
    return Instrument(
        exchange=exchange,
        name_internal=instrument_name_internal(exchange, symbol),
        name_exchange=InstrumentNameExchange(symbol),
        underlying=Underlying(asset_name_internal(base), asset_name_internal(quote)),
        kind=kind,
        spec=spec,
    )


def make_spec(
    *,
    tick: Number,
    step: Number,
    minimum: Number | None = None,
    maximum: Number | None = None,
    notional: Number | None = None,
    price_min: Number | None = None,
    price_max: Number | None = None,
    unit: QuantityUnit = QuantityUnit.ASSET,
    asset: AssetNameInternal | str | None = None,
) -> InstrumentSpec:
    """Put an order's limits together; None, and a most of zero, is no limit.

    Raises:
        InvalidLevel: A number is none.
        ValueError: A limit is negative.
    """
    price_step, quantity_step = _limit(tick), _limit(step)
    return InstrumentSpec(
        price=PriceSpec(
            min=_limit(price_min) or price_step,
            tick_size=price_step,
            max=_limit(price_max) or None,
        ),
        quantity=QuantitySpec(
            unit=unit,
            min=_limit(minimum) or quantity_step,
            increment=quantity_step,
            asset=None if asset is None else asset_name_internal(asset),
            max=_limit(maximum) or None,
        ),
        notional=NotionalSpec(min=_limit(notional)),
    )


def _limit(value: Number | None) -> Decimal:
    number = Decimal(0) if value is None else decimal_of(value)
    if number < 0:
        raise ValueError(f"a limit is not negative, was {number}")
    return number


def power_of_ten(digits: int) -> Decimal:
    """Return the step of so many decimals: 2 is 0.01, -1 is 10."""
    return Decimal(1).scaleb(-digits)


def base_amount(
    instrument: Instrument,
    quantity: Decimal,
    unit: AmountUnit,
    *,
    price: Decimal | None = None,
) -> Decimal:
    """Return a quantity in units of the base asset.

    A contract that is settled in its base is worth a number of quote units (inverse),
    any other, and every option, a number of base units.

    Args:
        instrument: Its terms.
        quantity: As the venue counts.
        unit: In what.
        price: Needed where the quantity is worth quote units; the result is then
            rounded to 28 digits.

    Raises:
        ValueError: The price is needed and missing, or not positive.
    """
    if unit is AmountUnit.BASE:
        return quantity
    worth = quantity
    if unit is AmountUnit.CONTRACT:
        worth = quantity * instrument.kind.contract_size
        if not _inverse(instrument):
            return worth
    if price is None or price <= 0:
        raise ValueError(
            f"{instrument.name_internal} is counted in {instrument.underlying.quote}: "
            f"a positive price is needed, was {price}"
        )
    return worth / price


def _inverse(instrument: Instrument) -> bool:
    kind = instrument.kind
    if not isinstance(kind, PerpetualContract | FutureContract):
        return False
    return kind.settlement_asset == instrument.underlying.base
