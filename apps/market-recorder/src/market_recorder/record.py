"""Options to subscriptions and a configuration; what a recording says meanwhile."""

import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
import trio

from integration.errors import DataError, Unsupported
from integration.exchanges.registry import connector_for
from integration.market.config import StreamConfig
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StreamError,
    StreamEvent,
)
from integration.market.streams import MarketStreams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.recording import open_recording
from netcore.models import Model

__all__ = ["OptionError", "RecordOptions", "record"]

_log = structlog.stdlib.get_logger("market_recorder")

_STATS_EVERY_S = 30.0


class OptionError(Exception):
    """Options that cannot be used."""


class RecordOptions(Model, frozen=True):
    """What to record; the command line documents each."""

    out: Path
    exchange: str = "binance_spot"
    instruments: tuple[str, ...] = ("btc_usdt",)
    kinds: tuple[str, ...] = ("public_trades", "order_books_l1", "order_books_l2")
    duration: float | None = None
    websocket_url: str | None = None
    rest_url: str | None = None
    tls_ca: Path | None = None

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Return what the names stand for.

        Raises:
            OptionError: For a name that stands for nothing.
        """
        if self.duration is not None and not self.duration > 0:
            raise OptionError(f"--duration must be above 0, was {self.duration}")
        try:
            exchange = ExchangeId(self.exchange)
            connector_for(exchange)
            return tuple(
                Subscription(exchange, _instrument(name), SubKind(kind))
                for name in self.instruments
                for kind in self.kinds
            )
        except (ValueError, Unsupported) as error:
            raise OptionError(str(error)) from error

    def config(self) -> StreamConfig:
        """Return how to stream it.

        Raises:
            OptionError: If the authority cannot be used.
        """

        def replaced(url: str | None) -> dict[str, str]:
            return {} if url is None else {self.exchange: url}

        return StreamConfig(
            websocket_url=replaced(self.websocket_url),
            rest_url=replaced(self.rest_url),
            ssl_context=_ssl_context(self.tls_ca),
        )


def _instrument(name: str) -> MarketDataInstrument:
    match name.lower().split("_"):
        case [base, quote] | [base, quote, "spot"]:
            return MarketDataInstrument.spot(base, quote)
        case [base, quote, "perpetual"]:
            return MarketDataInstrument.perpetual(base, quote)
    raise OptionError(
        f"--instruments: {name!r} is not BASE_QUOTE or BASE_QUOTE_perpetual"
    )


def _ssl_context(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise OptionError(f"--tls-ca {authority}: {error}") from error


async def record(options: RecordOptions, stop: trio.Event) -> None:
    """Record until asked to stop, or for as long as was chosen.

    Raises:
        OptionError: For options that cannot be used.
        RecordingFault: If the folder cannot be used.
        IntegrationError: If the exchange cannot be reached or refuses.
    """
    subscriptions, config = options.subscriptions(), options.config()
    counts: Counter[str] = Counter()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await stop.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        nursery.start_soon(_report, counts)
        try:
            async with open_recording(
                options.out, subscriptions, config=config
            ) as recording:
                _log.info("recording", folder=str(options.out))
                with trio.move_on_after(options.duration or float("inf")):
                    await _consume(recording.streams, counts)
        except Exception as error:
            failure = error  # raised outside the nursery, which would wrap it
        nursery.cancel_scope.cancel()
    if isinstance(failure, DataError):
        # What the venue does not offer is for the user to choose differently.
        raise OptionError(str(failure)) from failure
    if failure is not None:
        raise failure
    _log.info("stopped", folder=str(options.out), **counts)


async def _consume(streams: MarketStreams, counts: Counter[str]) -> None:
    while True:
        for event in await streams.next_batch():
            if isinstance(event, MarketEvent):
                counts[event.kind_name] += 1
            else:
                counts[type(event).__name__] += 1
                said, details = _told(event)
                _log.warning(said, **details)


def _told(event: StreamEvent) -> tuple[str, dict[str, Any]]:
    """Return a log line for what a stream says about itself."""
    match event:
        case Reconnecting():
            return "reconnecting", {"reason": event.reason, "attempt": event.attempt}
        case BookStale():
            reason = str(event.reason)
            return "book stale", {"book": str(event.instrument), "reason": reason}
        case BookResynced():
            return "book resynced", {
                "book": str(event.instrument),
                "gap_ms": event.gap_ms,
            }
        case StreamError():
            return "stream error", {"error": str(event.error)}
        case MarketEvent():
            return "market event", {}


async def _report(counts: Counter[str]) -> None:
    while True:
        await trio.sleep(_STATS_EVERY_S)
        _log.info("running", **counts)
