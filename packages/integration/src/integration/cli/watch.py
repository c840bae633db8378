"""The command `integration watch`: events as they come."""

import argparse
from pathlib import Path
from typing import Final

from integration.cli.arguments import (
    TARGETS,
    add_end,
    add_urls,
    new_parser,
    open_streams,
    run_until_told,
    subscriptions_of,
)
from integration.cli.output import as_json, event_json, event_text, write, write_json
from netcore.cli.exits import Exit

__all__ = ["add_parser"]

_EPILOG: Final = (
    TARGETS
    + """\
examples:
  integration watch binance_spot:btc/usdt okx:btc/usdt:l1
  integration watch deribit:BTC-PERPETUAL:l2 --count 100
  integration watch kraken_v2:btc/usd --json | jq .kind.price
"""
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands, "watch", summary="print events as they come", epilog=_EPILOG
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    add_end(parser, what="events")
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="record the raw bytes, too"
    )
    add_urls(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> Exit:
    """Print events until the end."""
    subscriptions = subscriptions_of(options.targets)
    json = as_json(options)

    async def work() -> None:
        left = options.count
        async with open_streams(options, subscriptions) as streams:
            async for event in streams:
                if json:
                    write_json([event_json(event)])
                else:
                    write(event_text(event))
                left = None if left is None else left - 1
                if left == 0:
                    return

    run_until_told(work, seconds=options.seconds)
    return Exit.DONE
