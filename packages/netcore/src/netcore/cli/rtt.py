"""The command `netcore rtt`: how long a WebSocket takes to answer."""

import argparse
from typing import TYPE_CHECKING, Final

from netcore.cli.arguments import (
    EXIT_TEXT,
    add_connection,
    add_json,
    fraction,
    positive,
    whole,
)
from netcore.cli.exits import Exit, NetcoreExit, UsageFault
from netcore.cli.measure import Distribution, bars, decade_buckets, duration_text
from netcore.cli.output import Output

if TYPE_CHECKING:
    from netcore.cli.talk import Interrupts

__all__ = ["add_parser", "measure"]

_LEAST: Final = 8
_MOST_PING: Final = 125

_EPILOG: Final = (
    """\
Sends pings and waits for each pong, which every WebSocket server answers; with --echo,
text messages for servers that send them back. A probe is sent when the last one was
answered. The busy driver asks the socket again and again, the trio driver waits for it
as trio programs do; --spin lets that one try for some microseconds before it waits.

examples:
  netcore rtt wss://venue.example/feed
  netcore rtt ws://127.0.0.1:8080/echo --echo --size 256 --count 10000 --interval 0
  netcore rtt ws://127.0.0.1:8080/ --driver trio --spin 0.00005
  netcore rtt wss://venue.example/feed --count 100 --json | tail -1 | jq .p99

exit code 1 tells that a probe was not answered within --answer seconds.

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "rtt",
        help="measure round-trip times",
        description="Measure the round-trip times of a WebSocket.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    group = parser.add_argument_group("measurement")
    _add_probes(group)
    _add_ways(group)
    parser.add_argument("--quiet", action="store_true", help="print the totals only")
    add_json(parser)
    parser.set_defaults(command=run)


def _add_probes(group: "argparse._ArgumentGroup") -> None:
    """Add how many probes there are, how often and how large."""
    group.add_argument(
        "--count", type=whole, default=20, metavar="N", help="probes (default: 20)"
    )
    group.add_argument(
        "--warmup",
        type=whole,
        default=1,
        metavar="N",
        help="probes before those that count (default: 1)",
    )
    group.add_argument(
        "--interval",
        type=fraction,
        default=0.1,
        metavar="SECONDS",
        help="between an answer and the next probe (default: 0.1)",
    )
    group.add_argument(
        "--answer",
        type=positive,
        default=5.0,
        metavar="SECONDS",
        help="how long to wait for an answer (default: 5)",
    )
    group.add_argument(
        "--size",
        type=whole,
        default=_LEAST,
        metavar="BYTES",
        help=f"of a probe, {_LEAST} to {_MOST_PING} for pings (default: {_LEAST})",
    )


def _add_ways(group: "argparse._ArgumentGroup") -> None:
    """Add what is sent and how its answer is waited for."""
    group.add_argument(
        "--echo", action="store_true", help="send messages that the server returns"
    )
    group.add_argument(
        "--driver",
        choices=("busy", "trio"),
        default="busy",
        help="how to wait (default: busy)",
    )
    group.add_argument(
        "--spin",
        type=fraction,
        default=0.0,
        metavar="SECONDS",
        help="how long the trio driver tries before it waits (default: 0)",
    )


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Measure and print."""
    from functools import partial

    import trio

    from netcore.cli.talk import run_interruptible

    trio.run(run_interruptible, partial(measure, options, output))
    return Exit.DONE


async def measure(
    options: argparse.Namespace, output: Output, interrupts: "Interrupts"
) -> None:
    """Connect, measure and close in order.

    Raises:
        NetcoreExit: If a probe was lost.
    """
    from netcore.cli.probes import Echo, Ping, Schedule, busy, parked
    from netcore.cli.talk import open_url

    if options.size < _LEAST or (options.size > _MOST_PING and not options.echo):
        raise UsageFault(
            f"--size must be {_LEAST} to {_MOST_PING}, more only with --echo, "
            f"was {options.size}"
        )
    probe = Echo(options.size) if options.echo else Ping(options.size)
    times = Distribution()
    lost = 0

    def tell(ns: int | None) -> None:
        nonlocal lost
        if ns is None:
            lost += 1
        else:
            times.add(ns)
        if not options.quiet:
            _show(output, len(times) + lost, ns)

    schedule = Schedule(
        count=options.count,
        warmup=options.warmup,
        interval=options.interval,
        answer=options.answer,
    )
    try:
        async with open_url(options) as connection:
            with interrupts.talking():
                ws = connection.websocket
                if options.driver == "trio":
                    await parked(ws, probe, schedule, tell, spin=options.spin)
                else:
                    await busy(ws, probe, schedule, tell)
    finally:
        if len(times) + lost:
            _sum_up(output, options, times, lost)
    if lost:
        raise NetcoreExit(Exit.FAILED)


def _show(output: Output, number: int, ns: int | None) -> None:
    if output.json:
        output.event("probe", number=number, ns=ns)
    else:
        output.line(f"{number:>6}  {'lost' if ns is None else duration_text(ns)}")


def _sum_up(
    output: Output, options: argparse.Namespace, times: Distribution, lost: int
) -> None:
    summary = times.summary()
    if output.json:
        output.event(
            "summary",
            url=options.url,
            driver=options.driver,
            kind="echo" if options.echo else "ping",
            size=options.size,
            lost=lost,
            unit="ns",
            **summary,
        )
        return
    words = "  ".join(
        f"{name} {duration_text(value)}"
        for name, value in summary.items()
        if name != "count"
    )
    gone = f", {lost} lost" if lost else ""
    output.line(f"{len(times)} round trips{gone}{f': {words}' if words else ''}")
    if len(times):
        output.lines(bars(times.buckets(decade_buckets), duration_text))
