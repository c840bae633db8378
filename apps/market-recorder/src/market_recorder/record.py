"""Recording: subscriptions in, a folder out."""

import ssl
from collections import Counter
from pathlib import Path
from typing import IO, Any

import httpx
import msgspec
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
from integration.market.streams import MarketStreams, open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.prepared import PreparedRequest
from integration.rest.transport import HttpTransport, RawResponse
from market_recorder.archive import HTTP_JOURNAL, Archive, HttpEntry, Manifest
from netcore.clock import Clock, SystemClock
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


def _instrument(name: str) -> MarketDataInstrument:
    match name.lower().split("_"):
        case [base, quote] | [base, quote, "spot"]:
            return MarketDataInstrument.spot(base, quote)
        case [base, quote, "perpetual"]:
            return MarketDataInstrument.perpetual(base, quote)
    raise OptionError(
        f"--instruments: {name!r} is not BASE_QUOTE or BASE_QUOTE_perpetual"
    )


class _Journal(HttpTransport):
    """A transport that writes down every response it passes on."""

    def __init__(self, inner: HttpTransport, file: IO[bytes], clock: Clock) -> None:
        self._inner = inner
        self._file = file
        self._clock = clock

    async def send(self, prepared: PreparedRequest) -> RawResponse:
        """Send, and note what came back."""
        response = await self._inner.send(prepared)
        entry = HttpEntry(
            time_ns=self._clock.now_ns(),
            url=prepared.url,
            status=response.status,
            body=response.content.decode("utf-8", "replace"),
        )
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()
        return response

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._inner.aclose()


async def record(options: RecordOptions, stop: trio.Event) -> None:
    """Record until asked to stop, or for as long as was chosen.

    Raises:
        OptionError: For options that cannot be used.
        ArchiveError: If the folder cannot be used.
        IntegrationError: If the exchange cannot be reached or refuses.
    """
    subscriptions = options.subscriptions()
    context = _ssl_context(options.tls_ca)
    clock = SystemClock()
    archive = Archive.create(
        options.out,
        Manifest(
            exchange=subscriptions[0].exchange,
            subscriptions=subscriptions,
            started_ns=clock.now_ns(),
            websocket_url=options.websocket_url,
            rest_url=options.rest_url,
        ),
    )
    counts: Counter[str] = Counter()
    with (options.out / HTTP_JOURNAL).open("xb") as file:
        pool = httpx.AsyncHTTPTransport(verify=context or True, trust_env=False)
        transport = _Journal(HttpxTransport(pool, clock=clock), file, clock)
        try:
            config = _config(options, context, transport)
            with trio.move_on_after(options.duration or float("inf")):
                await _follow(subscriptions, config, stop, counts)
        except DataError as error:
            # What the venue does not offer is for the user to choose differently.
            raise OptionError(str(error)) from error
        finally:
            with trio.CancelScope(shield=True):
                await transport.aclose()
    archive.finish(clock.now_ns())
    _log.info("stopped", folder=str(options.out), **counts)


async def _follow(
    subscriptions: tuple[Subscription, ...],
    config: StreamConfig,
    stop: trio.Event,
    counts: Counter[str],
) -> None:
    """Keep the streams open until asked to stop."""
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await stop.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        nursery.start_soon(_report, counts)
        failure: BaseException | None = None
        try:
            async with open_market_streams(subscriptions, config=config) as streams:
                _log.info("recording", folder=str(config.recorder))
                await _consume(streams, counts)
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


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


def _config(
    options: RecordOptions, context: ssl.SSLContext | None, transport: HttpTransport
) -> StreamConfig:
    def replaced(url: str | None) -> dict[str, str]:
        return {} if url is None else {options.exchange: url}

    return StreamConfig(
        websocket_url=replaced(options.websocket_url),
        rest_url=replaced(options.rest_url),
        ssl_context=context,
        recorder=options.out,
        http_transport=transport,
    )


def _ssl_context(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise OptionError(f"--tls-ca {authority}: {error}") from error
