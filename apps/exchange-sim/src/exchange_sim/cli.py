"""`exchange-sim`: a local exchange for tests, demonstrations and offline days."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
import trio
from cyclopts import App, Parameter

from integration.errors import IntegrationError
from integration.program import (
    EXIT_USAGE,
    complain,
    configure_logging,
    run_program,
)

__all__ = ["app", "main"]

_NAME = "exchange-sim"

app = App(
    name=_NAME,
    help="Serve a simulated exchange: WebSocket feeds and REST snapshots on one port.",
    result_action="return_value",
    # "--no-loop" and "--empty-symbols" would say nothing that leaving out does not.
    default_parameter=Parameter(negative=(), show_default=False),
)


def _speed(_type: type, tokens: tuple[cyclopts.Token, ...]) -> float:
    """Read a speed: a number, or "max"."""
    text = tokens[0].value
    return 0.0 if text == "max" else float(text)


def _words(_type: type, tokens: tuple[cyclopts.Token, ...]) -> tuple[str, ...]:
    """Read words separated by commas, in one or several arguments."""
    return tuple(w for token in tokens for w in token.value.split(",") if w)


@app.default
def serve(
    *,
    seed: int | None = None,
    symbols: Annotated[tuple[str, ...], Parameter(converter=_words, n_tokens=1)] = (),
    recording: tuple[Path, ...] = (),
    loop: bool = False,
    exit_at_end: bool = False,
    speed: Annotated[float, Parameter(converter=_speed)] = 1.0,
    dialect: str = "binance_spot",
    host: str = "127.0.0.1",
    port: int = 8765,
    tls: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_ca: Path | None = None,
    faults: Path | None = None,
    relaxed: bool = False,
    json: bool | None = None,
    debug: bool = False,
) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        seed: Seed of the synthetic market (default 0).
        symbols: Its symbols, separated by commas (default BTCUSDT,ETHUSDT,SOLUSDT).
        recording: Play this recording instead; several are merged by time.
        loop: Start the recording again at its end.
        exit_at_end: Stop at its end instead of serving the last book on.
        speed: Market seconds per second (default 1); "max" or 0: as clients can follow.
        dialect: Exchange id of the venue to speak like (default binance_spot).
        host: Address to listen on (default 127.0.0.1).
        port: Port (default 8765); 0 takes a free one, the log says which.
        tls: Serve TLS with a certificate made for this run.
        tls_cert: Serve TLS with this certificate chain (PEM).
        tls_key: Its key (PEM).
        tls_ca: Where to put the authority of the certificate made here; implies --tls.
        faults: Script of what goes wrong, and when (JSON).
        relaxed: Practically no limits for clients.
        json: Log JSON lines; by default unless stderr is a terminal.
        debug: Log every connection.
    """
    # The simulator takes longer to load than the help to be read.
    from exchange_sim.run import OptionError, Options, run_exchange

    configure_logging(json=json, debug=debug)
    options = Options(
        seed=seed,
        symbols=symbols,
        recording=recording,
        loop=loop,
        exit_at_end=exit_at_end,
        speed=speed,
        dialect=dialect,
        host=host,
        port=port,
        tls=tls,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        faults=faults,
        relaxed=relaxed,
    )

    async def run(stop: trio.Event) -> None:
        await run_exchange(options, stop)

    return run_program(_NAME, run, usage_errors=(OptionError, IntegrationError))


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        complain(_NAME, error)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
