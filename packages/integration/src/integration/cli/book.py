"""The command `integration book`: the top of a book as it changes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from integration.cli.arguments import (
    TARGETS,
    add_end,
    add_urls,
    new_parser,
    open_streams,
    run_until_told,
    subscription,
)
from integration.cli.output import as_json, table, write, write_json
from integration.models import SubKind
from netcore.cli.arguments import whole
from netcore.cli.exits import Exit, UsageFault

if TYPE_CHECKING:
    from integration.market.books import OrderBook

__all__ = ["add_parser"]

_EPILOG: Final = (
    TARGETS
    + """\
examples:
  integration book okx:btc/usdt
  integration book binance_futures_usd:btc/usdt.perpetual --depth 20 --count 1 --json
"""
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "book",
        summary="print the top of a book as it changes",
        epilog=_EPILOG,
    )
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--depth", type=whole, default=5, help="levels per side")
    add_end(parser, what="prints")
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="record the raw bytes, too"
    )
    add_urls(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> Exit:
    """Print the book until the end."""
    wanted = subscription(options.target, SubKind.ORDER_BOOKS_L2)
    if wanted.kind is not SubKind.ORDER_BOOKS_L2:
        msg = f"a book is made of order_books_l2, was {wanted.kind}"
        raise UsageFault(msg)

    async def work() -> None:
        left = options.count
        async with open_streams(options, [wanted]) as streams:
            while left is None or left > 0:
                await streams.next_batch()
                _show(options, streams.books[wanted.exchange, wanted.instrument])
                left = None if left is None else left - 1

    run_until_told(work, seconds=options.seconds)
    return Exit.DONE


def _show(options: argparse.Namespace, book: "OrderBook") -> None:
    if as_json(options):
        image = msgspec.to_builtins(book.snapshot(options.depth))
        write_json([{"state": book.state, **image}])
    else:
        write(table(book, options.depth))
