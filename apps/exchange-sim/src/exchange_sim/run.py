"""Options to parts, parts to a running exchange. No argument parsing here."""

import ssl
import time
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio
import trustme

from integration.errors import IntegrationError
from integration.testing.dialect import Limits
from integration.testing.events import MarketSource
from integration.testing.faults import Disconnect, ScheduledFault, load_script
from integration.testing.market import DEFAULT_SYMBOLS, SyntheticMarket
from integration.testing.recording import RecordedMarket
from integration.testing.simulator import SimulatedExchange
from netcore.models import Model

__all__ = ["OptionError", "Options", "run_exchange"]

_log = structlog.stdlib.get_logger("exchange_sim")

# Clients get this long to answer the close when the program is asked to stop.
_FAREWELL_S = 1.0
_STATS_EVERY_S = 30.0


class OptionError(Exception):
    """Options that contradict each other or a file that cannot be used."""


class Options(Model, frozen=True):
    """Everything the user may choose; the command line documents each."""

    seed: int | None = None
    symbols: tuple[str, ...] = ()
    recording: tuple[Path, ...] = ()
    loop: bool = False
    exit_at_end: bool = False
    speed: float = 1.0
    dialect: str = "binance_spot"
    host: str = "127.0.0.1"
    port: int = 8765
    tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    faults: Path | None = None
    relaxed: bool = False

    def check(self) -> None:
        """Refuse what makes no sense together.

        Raises:
            OptionError: Naming the options.
        """
        if self.recording and (self.seed is not None or self.symbols):
            raise OptionError("--recording excludes --seed and --symbols")
        if not self.recording and (self.loop or self.exit_at_end):
            raise OptionError("--loop and --exit-at-end need a --recording")
        if self.loop and self.exit_at_end:
            raise OptionError("--loop never ends, so --exit-at-end makes no sense")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise OptionError("--tls-cert and --tls-key go together")
        if self.tls_ca is not None and self.tls_cert is not None:
            raise OptionError("--tls-ca is for a certificate made here, not --tls-cert")
        if not 0 <= self.port <= 65_535:
            raise OptionError(f"--port must be in 0..65535, was {self.port}")
        if not 0 <= self.speed < float("inf"):
            raise OptionError(f"--speed must be a number from 0, was {self.speed}")


async def run_exchange(options: Options, stop: trio.Event) -> None:
    """Serve until asked to stop, or to the end of the recording if that was chosen.

    Raises:
        OptionError: For options that cannot be used.
        IntegrationError: For a recording, fault script or port that cannot be used.
    """
    options.check()
    faults: list[ScheduledFault] = []
    if options.faults is not None:
        faults = load_script(options.faults)
    source = await _source(options, stop)
    if source is None:
        return
    exchange = SimulatedExchange(
        source,
        dialect=options.dialect,
        host=options.host,
        port=options.port,
        ssl_context=_ssl_context(options),
        faults=faults,
        limits=_RELAXED if options.relaxed else None,
    )
    async with exchange as sim:
        _log.info(
            "listening",
            websocket_url=sim.websocket_url,
            rest_url=sim.rest_url,
            dialect=options.dialect,
            symbols=list(sim.specs),
            speed=options.speed,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_play, sim, options, stop)
            nursery.start_soon(_report, sim)
            await stop.wait()
            nursery.cancel_scope.cancel()
        await _say_goodbye(sim)


async def _play(sim: SimulatedExchange, options: Options, stop: trio.Event) -> None:
    await sim.run(options.speed)
    _log.info("finished", **_stats(sim))
    if options.exit_at_end:
        await sim.drain()
        stop.set()


# For tests and load: as many requests, connections and messages as anybody likes.
_RELAXED = Limits(
    messages_per_second=1_000_000,
    connections=1_000_000,
    weight_per_minute=1_000_000_000,
    queue_messages=65_536,
)


async def _source(options: Options, stop: trio.Event) -> MarketSource | None:
    """Make the source; None if asked to stop meanwhile."""
    if not options.recording:
        try:
            return SyntheticMarket(
                options.seed or 0,
                options.symbols or DEFAULT_SYMBOLS,
                start_ns=time.time_ns(),
            )
        except ValueError as error:
            raise OptionError(f"--symbols: {error}") from error
    source: MarketSource | IntegrationError | None = None
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await stop.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        # Reads the whole recording once; a signal must not have to wait for that.
        try:
            source = await trio.to_thread.run_sync(
                partial(RecordedMarket, options.recording, loop=options.loop),
                abandon_on_cancel=True,
            )
        except IntegrationError as error:
            source = error
        nursery.cancel_scope.cancel()
    if isinstance(source, IntegrationError):
        raise source  # out of the nursery, which would wrap it in a group
    return source


def _ssl_context(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise OptionError(
                f"--tls-cert {options.tls_cert}, --tls-key {options.tls_key}: {error}"
            ) from error
        return context
    if not options.tls and options.tls_ca is None:
        return None
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(options.host, "localhost").configure_cert(context)
    if options.tls_ca is not None:
        try:
            authority.cert_pem.write_to_path(str(options.tls_ca))
        except OSError as error:
            raise OptionError(f"--tls-ca {options.tls_ca}: {error.strerror}") from error
    return context


def _stats(sim: SimulatedExchange) -> dict[str, Any]:
    stats = sim.stats
    return {name: getattr(stats, name) for name in stats.__struct_fields__}


async def _report(sim: SimulatedExchange) -> None:
    while True:
        await trio.sleep(_STATS_EVERY_S)
        _log.info("running", market_time_ns=sim.time_ns, **_stats(sim))


async def _say_goodbye(sim: SimulatedExchange) -> None:
    """Close every connection with 1001, for as long as that may take."""
    with trio.move_on_after(_FAREWELL_S):
        await sim.inject(Disconnect(code=1001, reason="The simulator stops"))
        await sim.wait_clients(0)
    _log.info("stopped", **_stats(sim))
