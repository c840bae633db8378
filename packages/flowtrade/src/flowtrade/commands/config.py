"""The server's configuration: one strict record from a file, environment and flags.

The `[server]`, `[store]`, `[schedule]` and `[auction]` tables are the service's own
(`flowtrade.settings`); `[feed]` says where market data comes from, and each
`[[product]]` is a product that shall exist.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from flowtrade.errors import InvalidRequest
from flowtrade.models.clearing import SolverMode
from flowtrade.settings import Resolved, Settings, resolve
from integration.market.config import StreamConfig
from integration.models import ExchangeId
from netcore.models import Model

__all__ = ["Config", "FeedConfig", "ProductConfig", "resolve_config"]


class ProductConfig(Model, frozen=True, kw_only=True, omit_defaults=True):
    """A product that shall exist when the server has started.

    Attributes:
        name: Its name, unique among the configured ones.
        exchange: Where its reference price is seen, or None for nowhere.
        base: The instrument's base asset.
        quote: The instrument's quote asset.
        instrument_kind: `"spot"`, `"perpetual"` or an object with an expiry.
    """

    name: str
    exchange: ExchangeId | None = None
    base: str | None = None
    quote: str | None = None
    instrument_kind: Any = "spot"

    def app_data(self) -> dict[str, Any]:
        """What is stored with the product."""
        data = msgspec.to_builtins(self)
        return {key: value for key, value in data.items() if value is not None}


class FeedConfig(Model, frozen=True, kw_only=True):
    """Where market data comes from.

    Attributes:
        websocket_url: Exchange -> URL used instead of its own, such as a simulator's.
        rest_url: Likewise for snapshots.
        record: Folder into which the raw bytes received are recorded, None for none.
        lines: Connections that carry the same; while one is up no feed goes stale.
        line_url: Exchange -> WebSocket URLs of the second and further lines; by default
            the first's.
    """

    websocket_url: dict[str, str] = msgspec.field(default_factory=dict)
    rest_url: dict[str, str] = msgspec.field(default_factory=dict)
    record: str | None = None
    lines: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1
    line_url: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.streams()  # which says what does not fit together

    def streams(self, ssl_context: ssl.SSLContext | None = None) -> StreamConfig:
        """The configuration of the market streams; TLS verifies with the context."""
        return StreamConfig(
            ssl_context=ssl_context,
            websocket_url=self.websocket_url,
            rest_url=self.rest_url,
            recorder=None if self.record is None else Path(self.record),
            lines=self.lines,
            line_url=self.line_url,
        )


class Config(Settings, frozen=True, kw_only=True):
    """The whole configuration; everything has a default.

    Attributes:
        feed: Market data.
        product: Products that shall exist.
        solver: Who solves first; the certificate judges every answer alike.
    """

    feed: FeedConfig = msgspec.field(default_factory=FeedConfig)
    product: tuple[ProductConfig, ...] = ()
    solver: SolverMode = SolverMode.HIGHS


def resolve_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, tuple[str, Any]] | None = None,
) -> Resolved[Config]:
    """Read the configuration; flags win over the environment, that over the file.

    Args:
        path: A TOML file, or None for none.
        environ: Variables, the process's own by default.
        flags: Dotted path -> the flag's name and its value.

    Raises:
        InvalidRequest: The file is missing or unreadable, a key is unknown, or a
            value does not fit; the message names the path of the key and its source.
    """
    try:
        resolved = resolve(Config, path, environ=environ, flags=flags)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from error
    names = [product.name for product in resolved.settings.product]
    if len(set(names)) != len(names):
        raise InvalidRequest(
            f"two products have one name, was {names}", where="product"
        )
    return resolved
