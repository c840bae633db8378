"""The venues' recipes by name: for tools that sign a request they are given as data.

A program that trades imports its venue's module and writes its requests as
`RestRequest` classes; this is for debugging: `integration sign` and suites that
compare signatures.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias, final

import msgspec

from integration.rest import BodyFormat, RestRequest, prepare
from integration.rest.signer import Explained, RequestSigner
from integration.signing import (
    binance,
    bitfinex,
    bitmex,
    bybit,
    coinbase,
    coinbase_advanced,
    deribit,
    gateio,
    kraken,
    kraken_futures,
    okx,
)
from integration.signing.credentials import Credentials
from netcore.clock import Clock

__all__ = ["RECIPES", "Call", "Recipe", "recipe_of", "sign_call"]

_Strategy: TypeAlias = Callable[[Credentials, Clock], RequestSigner[Any]]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to sign for one venue.

    Attributes:
        strategy: Makes the signer.
        base: Where paths without a leading slash are put.
        bases: Such places by the name of the part of the API, where it has several;
            a path with a leading slash goes to the host that serves its first segment.
        form: Whether bodies are forms, not JSON.
        body_always: Whether parameters go into the body whatever the method.
        passphrase: Whether the venue gives out one to every key.
    """

    strategy: _Strategy
    base: str
    bases: Mapping[str, str] = msgspec.field(default_factory=dict)
    form: bool = False
    body_always: bool = False
    passphrase: bool = False


_BINANCE = "https://api.binance.com"
_FAPI, _DAPI = "https://fapi.binance.com/fapi", "https://dapi.binance.com/dapi"
_BINANCE_PARTS: Final = {
    "spot": f"{_BINANCE}/api/v3",
    "private": f"{_BINANCE}/api/v3",
    "public": f"{_BINANCE}/api/v3",
    "sapi": f"{_BINANCE}/sapi/v1",
    "sapiV2": f"{_BINANCE}/sapi/v2",
    "sapiV3": f"{_BINANCE}/sapi/v3",
    "sapiV4": f"{_BINANCE}/sapi/v4",
    "fapi": f"{_FAPI}/v1",
    "fapiPrivate": f"{_FAPI}/v1",
    "fapiPrivateV2": f"{_FAPI}/v2",
    "fapiPrivateV3": f"{_FAPI}/v3",
    "dapi": f"{_DAPI}/v1",
    "dapiPrivate": f"{_DAPI}/v1",
    "dapiPrivateV2": f"{_DAPI}/v2",
    "papi": "https://papi.binance.com/papi/v1",
    "eapi": "https://eapi.binance.com/eapi/v1",
    "eapiPrivate": "https://eapi.binance.com/eapi/v1",
}
"""Each part has a host of its own; named as the venue and as ccxt name them."""


RECIPES: Final[Mapping[str, Recipe]] = {
    "binance": Recipe(
        strategy=lambda c, clock: binance.request_signer(c.key, c.secret, clock),
        base=_BINANCE_PARTS["spot"],
        bases=_BINANCE_PARTS,
        form=True,
    ),
    "bitfinex": Recipe(
        strategy=bitfinex.request_signer,
        base="https://api.bitfinex.com/v2",
        body_always=True,
    ),
    "bitmex": Recipe(
        strategy=bitmex.request_signer, base="https://www.bitmex.com/api/v1"
    ),
    "bybit": Recipe(strategy=bybit.request_signer, base="https://api.bybit.com"),
    "coinbase": Recipe(
        strategy=coinbase.request_signer,
        base="https://api.exchange.coinbase.com",
        passphrase=True,
    ),
    "coinbase_advanced": Recipe(
        strategy=coinbase_advanced.legacy_request_signer,
        base="https://api.coinbase.com",
    ),
    "deribit": Recipe(
        strategy=deribit.request_signer, base="https://www.deribit.com/api/v2/private"
    ),
    "gateio": Recipe(
        strategy=gateio.request_signer, base="https://api.gateio.ws/api/v4"
    ),
    "kraken": Recipe(
        strategy=kraken.request_signer,
        base="https://api.kraken.com/0/private",
        form=True,
        body_always=True,
    ),
    "kraken_futures": Recipe(
        strategy=kraken_futures.request_signer,
        base="https://futures.kraken.com/derivatives/api/v3",
        form=True,
    ),
    "okx": Recipe(
        strategy=okx.request_signer,
        base="https://www.okx.com/api/v5",
        passphrase=True,
    ),
}
"""By venue."""

_ALIASES: Final = {
    "binance_spot": "binance",
    "binance_futures_usd": "binance",
    "binance_futures_coin": "binance",
    "binanceusdm": "binance",
    "binancecoinm": "binance",
    "bybit_spot": "bybit",
    "bybit_perpetuals_usd": "bybit",
    "coinbaseexchange": "coinbase",
    "coinbaseadvanced": "coinbase_advanced",
    "gate": "gateio",
    "krakenfutures": "kraken_futures",
    "okex": "okx",
}

_PARTS: Final = {
    "binance_futures_usd": "fapi",
    "binance_futures_coin": "dapi",
    "binanceusdm": "fapi",
    "binancecoinm": "dapi",
}
"""Aliases that mean one part of a venue's API."""


@final
class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request as data.

    Attributes:
        method: Of HTTP.
        path: With a leading slash taken whole, without one put behind the base.
        params: Parameters; the venue's manner says whether in the query or the body.
        api: The part of the venue's API, where it has several.
    """

    method: str
    path: str
    params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    api: str | None = None


def recipe_of(exchange: str) -> tuple[str, Recipe]:
    """Return a venue's name here and its recipe.

    Raises:
        ValueError: No recipe is known by this name.
    """
    alias = exchange.lower()
    name = _ALIASES.get(alias, alias)
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise ValueError(f"no recipe is known for {exchange!r}; there are {known}")
    recipe = RECIPES[name]
    if alias in _PARTS:
        recipe = msgspec.structs.replace(recipe, base=recipe.bases[_PARTS[alias]])
    return name, recipe


def sign_call(
    exchange: str, call: Call, credentials: Credentials, clock: Clock
) -> Explained:
    """Sign a request.

    Args:
        exchange: The venue.
        call: The request.
        credentials: Key, secret and, where a venue has one, passphrase.
        clock: The venue's time.

    Raises:
        ValueError: No recipe is known for the venue, or no such part of its API.
        Signing: The request cannot be signed, or the secret is not as the venue
            spells secrets.
    """
    name, recipe = recipe_of(exchange)
    base, where = _place(name, recipe, call)
    request = _request(recipe, call, where, empty=name == "bitfinex")
    strategy = recipe.strategy(credentials, clock)
    return strategy.explain(request, prepare(base, request))


def _place(name: str, recipe: Recipe, call: Call) -> tuple[str, str]:
    """Where the path is put, and the path with its leading slash."""
    base = recipe.base
    if call.api and recipe.bases:
        if call.api not in recipe.bases:
            known = ", ".join(recipe.bases)
            raise ValueError(f"{name} has no API {call.api!r}; there are {known}")
        base = recipe.bases[call.api]
    if not call.path.startswith("/"):
        return base, f"/{call.path}"
    served = {place.split("/")[3]: place for place in recipe.bases.values()}
    base = served.get(call.path.split("/")[1], base)
    return "/".join(base.split("/")[:3]), call.path


def _request(
    recipe: Recipe, call: Call, where: str, *, empty: bool
) -> RestRequest[Any]:
    verb = call.method.upper()
    params = dict(call.params)
    in_body = verb in {"POST", "PUT"} or recipe.body_always
    filled = params if params or empty else None
    style = BodyFormat.FORM if recipe.form else BodyFormat.JSON

    class Request(RestRequest[Any], frozen=True):
        method: ClassVar[str] = verb
        body_format: ClassVar[BodyFormat] = style

        def path(self) -> str:
            return where

        def query_params(self) -> dict[str, Any] | None:
            return None if in_body else params

        def body(self) -> dict[str, Any] | None:
            return filled if in_body else None

    return Request()
