"""The service's settings: one strict record, read from TOML and the environment.

The table below is the whole configuration. `load_settings` reads a file, overlays
variables named `FLOWTRADE_<SECTION>__<KEY>`, and refuses whatever it does not know.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

from flowtrade.errors import InvalidRequest
from netcore.models import Model

__all__ = [
    "AuctionSettings",
    "ScheduleSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "Transparency",
    "load_settings",
    "overlay_environment",
]

_PREFIX = "FLOWTRADE_"

Positive = Annotated[float, msgspec.Meta(gt=0)]


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


class Settings(Model, frozen=True, kw_only=True):
    """All settings; every one has a default."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    auction: AuctionSettings = AuctionSettings()


def load_settings(
    path: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings; the environment wins over the file.

    Args:
        path: A TOML file, or None for none.
        environ: Variables, the process's own by default.

    Raises:
        FileNotFoundError: The named file does not exist.
        InvalidRequest: An unknown key, or a value that does not fit, with its path.
    """
    environ = os.environ if environ is None else environ
    try:
        tree: dict[str, Any] = (
            {} if path is None else msgspec.toml.decode(path.read_bytes())
        )
        overlay_environment(tree, environ)
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"settings: {error}") from error


def overlay_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put variables named `FLOWTRADE_<SECTION>__<KEY>` into a tree of tables.

    Raises:
        InvalidRequest: A variable names a section that is no table.
    """
    for name, value in environ.items():
        section, separator, key = name.removeprefix(_PREFIX).partition("__")
        if name.startswith(_PREFIX) and separator:
            table = tree.setdefault(section.lower(), {})
            if not isinstance(table, dict):
                raise InvalidRequest(f"settings: {section.lower()} is a table")
            table[key.lower()] = value
