"""The service's settings: one strict record, read from TOML and the environment.

The table below is the whole configuration. `resolve` reads a file, overlays variables
named `FLOWTRADE_<SECTION>__<KEY>` and then flags, refuses whatever it does not know,
and remembers where each value came from.
"""

import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, final

import msgspec

from flowtrade.errors import InvalidRequest
from netcore.models import Model

__all__ = [
    "AuctionSettings",
    "AuthSettings",
    "MetricsSettings",
    "Resolved",
    "ScheduleSettings",
    "ServerSettings",
    "Settings",
    "SettlementSettings",
    "StoreSettings",
    "Transparency",
    "load_settings",
    "resolve",
]

_S = TypeVar("_S", bound="Settings")

_PREFIX = "FLOWTRADE_"

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
"""Seconds, thirty years of them at most: what is no number of nanoseconds is none."""


class Transparency(StrEnum):
    """What the public stream tells."""

    PRICES = "prices"
    BOOK = "book"


class ServerSettings(Model, frozen=True, kw_only=True):
    """The HTTP side.

    Attributes:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        page_limit: Entries in a page of a history.
        auto_solve: Run a batch after every change of a bid.
        grace: Seconds that requests in flight get when the service stops.
        keep_alive: Seconds between comments on a quiet event stream.
        replay: Events kept for clients that reconnect.
        queue: Events that may wait for one slow client before it is dropped.
        body_limit: Largest request body in bytes.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    page_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    auto_solve: bool = False
    grace: Positive = 1.5
    keep_alive: Positive = 15.0
    replay: Annotated[int, msgspec.Meta(ge=1)] = 1024
    queue: Annotated[int, msgspec.Meta(ge=1)] = 256
    body_limit: Annotated[int, msgspec.Meta(ge=1024)] = 10 * 2**20


class StoreSettings(Model, frozen=True, kw_only=True):
    """Where operations are kept.

    Attributes:
        url: `memory:`, `sqlite:PATH`, or `postgresql://…`.
        queue: Writes that may wait before new ones are refused.
        group: Writes in one commit at most.
    """

    url: str = "memory:"
    queue: Annotated[int, msgspec.Meta(ge=1)] = 4096
    group: Annotated[int, msgspec.Meta(ge=1)] = 512


class ScheduleSettings(Model, frozen=True, kw_only=True):
    """When auctions happen.

    Attributes:
        every: Seconds between auctions, or None for none.
        start: RFC 3339 time that the grid passes through, or None for the epoch.
    """

    every: Positive | None = 1.0
    start: str | None = None


class AuctionSettings(Model, frozen=True, kw_only=True):
    """How auctions are cleared and told.

    Attributes:
        time_limit: Seconds that the solver gets.
        transparency: What the public stream tells.
        coalesce: Seconds in which reference prices are gathered into one event.
        rate_unit: Seconds in the unit of time of rates and quantities.
        horizon: Seconds that a batch's rates are expected to hold, for trade caps;
            None for the schedule's period, and no caps where nothing is scheduled.
    """

    time_limit: Positive = 10.0
    transparency: Transparency = Transparency.PRICES
    coalesce: Positive = 0.25
    rate_unit: Positive = 3600.0
    horizon: Positive | None = None


class SettlementSettings(Model, frozen=True, kw_only=True):
    """The smallest units of what is delivered and paid, as decimal numbers.

    Attributes:
        lot: Size of a lot of a product that `lots` does not name.
        lots: Size of a lot by product id.
        money: The smallest unit of money.
        fee: What the operator takes of the notional.
    """

    lot: Decimal = Decimal("0.000001")
    lots: dict[str, Decimal] = msgspec.field(default_factory=dict)
    money: Decimal = Decimal("0.01")
    fee: Decimal = Decimal(0)


class MetricsSettings(Model, frozen=True, kw_only=True):
    """Where operators read the service's figures; apart from the API, on purpose.

    Attributes:
        port: Port of `GET /metrics`; None for none, 0 takes a free one.
        host: Address to listen on.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    host: str = "127.0.0.1"


class AuthSettings(Model, frozen=True, kw_only=True):
    """Which bearer tokens are good. Secrets are no settings: they come by environment.

    Attributes:
        keys: Key set (RFC 7517): an https URL or a file; None for the secret's key
            alone.
        issuer: The only `iss` accepted, or None for any.
        audience: The `aud` that tokens must carry, or None: then they must carry none.
        leeway: Seconds that clocks may differ.
        require_expiry: Whether a token must end some day.
    """

    keys: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: Annotated[float, msgspec.Meta(ge=0, le=900)] = 30.0
    require_expiry: bool = True


class Settings(Model, frozen=True, kw_only=True):
    """All settings; every one has a default."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    store: StoreSettings = StoreSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    auction: AuctionSettings = AuctionSettings()
    metrics: MetricsSettings = MetricsSettings()
    settlement: SettlementSettings = msgspec.field(default_factory=SettlementSettings)

    def auction_terms(self) -> AuctionSettings:
        """Return how auctions are cleared, with the horizon that the schedule sets."""
        if self.auction.horizon is not None:
            return self.auction
        return msgspec.structs.replace(self.auction, horizon=self.schedule.every)


@final
class Resolved(msgspec.Struct, Generic[_S], frozen=True, kw_only=True):
    """Settings and where each of their values came from.

    Attributes:
        settings: The settings.
        sources: Dotted path of a value -> the file, variable or flag that gave it;
            what is not here is a default.
    """

    settings: _S
    sources: dict[str, str]

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Yield path, value (a password in a URL hidden) and source of every value."""
        for path, value in _leaves(msgspec.to_builtins(self.settings), ""):
            source = _source_of(path, self.sources)
            yield path, _without_password(value), source or "default"


def resolve(
    kind: type[_S],
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Resolved[_S]:
    """Read settings; flags win over the environment, and that over the file.

    Args:
        kind: Which settings.
        path: A TOML file, or None for none.
        environ: Variables, the process's own by default.
        flags: Dotted path -> the flag's name and its value.

    Raises:
        FileNotFoundError: The named file does not exist.
        InvalidRequest: An unknown key, or a value that does not fit; the message has
            its path and says where it came from.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if path is not None:
        tree = _read(path)
        sources = {key: str(path) for key, _ in _leaves(tree, "")}
    overlay = list(_variables(os.environ if environ is None else environ))
    overlay += [(key, *flag) for key, flag in (flags or {}).items()]
    for key, source, value in overlay:
        _put(tree, key, value, source)
        sources[key] = source
    try:
        settings = msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, tree, sources) from error
    return Resolved(settings=settings, sources=sources)


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the service's settings; see `resolve`."""
    return resolve(Settings, path, environ=environ).settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"settings: {path}: {error}") from error


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, value in environ.items():
        section, separator, key = name.removeprefix(_PREFIX).partition("__")
        if name.startswith(_PREFIX) and separator:
            yield f"{section}.{key}".lower(), name, value


def _put(tree: dict[str, Any], path: str, value: object, source: str) -> None:
    *sections, key = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InvalidRequest(f"settings: {section} is a table, not so for {source}")
    tree[key] = value


def _leaves(value: object, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that is no table; an empty table or list is one too."""
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{path}.{key}" if path else key, v) for key, v in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{path}[{index}]", v) for index, v in enumerate(value)]
    if not children:
        if path:
            yield path, value
        return
    for inner, child in children:
        yield from _leaves(child, inner)


def _source_of(path: str, sources: Mapping[str, str]) -> str | None:
    # A list given as a whole is the source of its elements.
    return sources.get(path) or sources.get(path.partition("[")[0])


_WHERE = re.compile(r"`\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")


def _invalid(
    error: msgspec.ValidationError, tree: Mapping[str, Any], sources: Mapping[str, str]
) -> InvalidRequest:
    text = str(error)
    found = _WHERE.search(text)
    path = found[1] if found else ""
    unknown = _UNKNOWN.search(text)
    if unknown:
        path = f"{path}.{unknown[1]}" if path else unknown[1]
    inside = [key for key, _ in _leaves(tree, "") if key.startswith(path)]
    given = next((s for key in inside if (s := _source_of(key, sources))), None)
    reason = text.split(" - at `", maxsplit=1)[0]
    source = "" if given is None else f" (from {given})"
    return InvalidRequest(f"settings: {path}{source}: {reason}", where=path)


_PASSWORD = re.compile(r"(?<=://)([^:/@]*):[^@]*@")


def _without_password(value: object) -> object:
    return _PASSWORD.sub(r"\1:***@", value) if isinstance(value, str) else value
