"""Assets: what is bought and what pays for it.

Does not know prices or balances; names only.
"""

import sys
from enum import StrEnum
from typing import Generic, NewType, TypeVar

from integration.models.exchange import ExchangeId
from netcore.models import Model

__all__ = [
    "Asset",
    "AssetKind",
    "AssetNameExchange",
    "AssetNameInternal",
    "ExchangeAsset",
    "Keyed",
    "Underlying",
    "asset_name_internal",
]

AssetNameInternal = NewType("AssetNameInternal", str)
"""Our spelling: lower case and interned; made by `asset_name_internal`."""

AssetNameExchange = NewType("AssetNameExchange", str)
"""The venue's own spelling, kept as it came."""

K = TypeVar("K")
V = TypeVar("V")


def asset_name_internal(name: str) -> AssetNameInternal:
    """Lower-case and intern an asset's name, so that equal names are one object."""
    return AssetNameInternal(sys.intern(name.lower()))


class AssetKind(StrEnum):
    """Whether an asset is a cryptocurrency or money of a state."""

    CRYPTO = "crypto"
    FIAT = "fiat"


class Asset(Model, frozen=True):
    """An asset with our name and the venue's."""

    name_internal: AssetNameInternal
    name_exchange: AssetNameExchange

    @classmethod
    def named(cls, name_exchange: str) -> "Asset":
        """Make an asset from the venue's spelling."""
        return cls(
            name_internal=asset_name_internal(name_exchange),
            name_exchange=AssetNameExchange(name_exchange),
        )


class ExchangeAsset(Model, frozen=True):
    """An asset on one exchange: balances live there, not in the asset."""

    exchange: ExchangeId
    asset: Asset


class Underlying(Model, frozen=True):
    """The base that is priced, and the quote it is priced in."""

    base: AssetNameInternal
    quote: AssetNameInternal


class Keyed(Model, Generic[K, V], frozen=True):
    """A value together with the key that stands for it, usually an index."""

    key: K
    value: V
