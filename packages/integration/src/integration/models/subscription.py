"""What a consumer asks for: one kind of data about one instrument of one exchange.

`Subscription` nests its instrument; the JSON form of configuration files is flat
(`{"exchange":…,"base":…,"quote":…,"instrument_kind":…,"kind":…}`), made and read by
`subscription_to_builtins` and `parse_subscription`. Does not know channels or
symbols: a connector turns a subscription into a topic.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NewType

import msgspec

from integration.models.exchange import ExchangeId
from integration.models.instrument import DatedKind, MarketDataInstrument, PlainKind
from netcore.models import Model

__all__ = [
    "SubKind",
    "Subscription",
    "SubscriptionId",
    "normalise_subscriptions",
    "parse_subscription",
    "subscription_id",
    "subscription_to_builtins",
]

SubscriptionId = NewType("SubscriptionId", str)
"""What identifies a stream on the wire: `channel|market`."""


def subscription_id(channel: str, market: str) -> SubscriptionId:
    """Join a channel and a market, both in the venue's spelling."""
    return SubscriptionId(f"{channel}|{market}")


class SubKind(StrEnum):
    """The kinds of data. Also decodes the Pascal-case form (`"PublicTrades"`)."""

    PUBLIC_TRADES = "public_trades"
    AGGREGATED_TRADES = "aggregated_trades"
    ORDER_BOOKS_L1 = "order_books_l1"
    ORDER_BOOKS_L2 = "order_books_l2"
    ORDER_BOOKS_L3 = "order_books_l3"
    LIQUIDATIONS = "liquidations"
    CANDLES = "candles"
    FUNDING_RATES = "funding_rates"
    MARK_PRICES = "mark_prices"
    INDEX_PRICES = "index_prices"
    OPEN_INTEREST = "open_interest"

    @classmethod
    def _missing_(cls, value: object) -> "SubKind | None":
        if not isinstance(value, str):
            return None
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value).lower()
        return next((kind for kind in cls if kind.value == snake), None)

    @property
    def pascal(self) -> str:
        """The form of the dynamic subscriptions, such as `OrderBooksL2`."""
        return "".join(part.capitalize() for part in self.value.split("_"))


class Subscription(Model, frozen=True, omit_defaults=True):
    """One kind of data about one instrument of one exchange.

    Attributes:
        exchange: the server; a plain string is accepted and checked.
        instrument: what the data are about.
        kind: which data; a plain string is accepted and checked.
        interval: of candles only, such as `1m`; None is the connector's default.
        depth: of L2 books only, levels per side; None is the connector's default.

    Raises:
        ValueError: an unknown exchange or kind, or an option that the kind has not.
    """

    exchange: ExchangeId
    instrument: MarketDataInstrument
    kind: SubKind
    interval: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        # Constructors of Structs do not convert: strings become members here.
        if type(self.exchange) is not ExchangeId:
            msgspec.structs.force_setattr(self, "exchange", ExchangeId(self.exchange))
        if type(self.kind) is not SubKind:
            msgspec.structs.force_setattr(self, "kind", SubKind(self.kind))
        if self.interval is not None and self.kind is not SubKind.CANDLES:
            msg = f"interval is for candles only, was {self.interval!r} of {self.kind}"
            raise ValueError(msg)
        if self.depth is not None and self.kind is not SubKind.ORDER_BOOKS_L2:
            msg = f"depth is for order_books_l2 only, was {self.depth} of {self.kind}"
            raise ValueError(msg)
        if self.depth is not None and self.depth < 1:
            msg = f"depth is at least 1 level, was {self.depth}"
            raise ValueError(msg)

    def __str__(self) -> str:
        return f"({self.exchange}|{self.kind}|{self.instrument})"


class _FlatSubscription(Model, frozen=True, omit_defaults=True):
    """The JSON form."""

    exchange: ExchangeId
    base: str
    quote: str
    instrument_kind: PlainKind | DatedKind
    kind: SubKind
    interval: str | None = None
    depth: int | None = None


def parse_subscription(value: Mapping[str, Any] | bytes | str) -> Subscription:
    """Read the flat JSON form, decoded or as text.

    Raises:
        msgspec.ValidationError: a field is missing, unknown or malformed.
    """
    if isinstance(value, bytes | str):
        flat = msgspec.json.decode(value, type=_FlatSubscription)
    else:
        flat = msgspec.convert(dict(value), type=_FlatSubscription)
    return Subscription(
        flat.exchange,
        MarketDataInstrument(
            flat.base.lower(), flat.quote.lower(), flat.instrument_kind
        ),
        flat.kind,
        flat.interval,
        flat.depth,
    )


def subscription_to_builtins(subscription: Subscription) -> dict[str, Any]:
    """Write the flat JSON form as plain dictionaries and strings."""
    instrument = subscription.instrument
    flat = _FlatSubscription(
        exchange=subscription.exchange,
        base=instrument.base,
        quote=instrument.quote,
        instrument_kind=instrument.instrument_kind,
        kind=subscription.kind,
        interval=subscription.interval,
        depth=subscription.depth,
    )
    builtins = msgspec.to_builtins(flat)
    assert isinstance(builtins, dict)  # noqa: S101  a Struct always becomes a dict
    return builtins


def normalise_subscriptions(
    subscriptions: Iterable[Subscription],
) -> tuple[Subscription, ...]:
    """Sort and de-duplicate, so that plans do not depend on the caller's order."""
    return tuple(sorted(dict.fromkeys(subscriptions), key=str))
