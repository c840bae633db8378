"""The command line: `venues`, `watch`, `book` and `sign`.

Lines for people on a terminal, JSON lines into a pipe or with `--json`. Exit codes:
0 done, 1 the run failed, 2 the command was misspelt. Wiring only: everything it does
can be had from `integration.market` as well.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from integration.errors import IntegrationError, UnsupportedSubscription
from integration.models import (
    ExchangeId,
    InstrumentKind,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OptionKind,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)

if TYPE_CHECKING:
    from integration.market.books import OrderBook
    from integration.market.config import StreamConfig
    from integration.market.streams import MarketStreams
    from integration.signing import Credentials

__all__ = ["main", "parse_target"]

_KINDS = {
    "trades": SubKind.PUBLIC_TRADES,
    "l1": SubKind.ORDER_BOOKS_L1,
    "l2": SubKind.ORDER_BOOKS_L2,
}
"""Short names beside the full ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except _UsageError as error:
        parser.print_usage(sys.stderr)
        sys.stderr.write(f"integration: {error}\n")
        return 2
    except IntegrationError as error:
        sys.stderr.write(f"integration: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing is left to be flushed.
        sys.stderr.close()
        return 0


class _UsageError(Exception):
    """A command that cannot be understood."""


def parse_target(
    text: str, *, default: SubKind = SubKind.PUBLIC_TRADES
) -> Subscription:
    """Read `exchange:base/quote[.perpetual][:kind]`, or `exchange:SYMBOL[:kind]`.

    Args:
        text: such as `okx:btc/usdt:l1`, `deribit:BTC-PERPETUAL`.
        default: the kind of those that name none.

    Raises:
        ValueError: it is not spelled so, or names something unknown.
        DataError: the symbol is not the venue's.
    """
    exchange_name, _, rest = text.partition(":")
    instrument_name, _, kind_name = (
        rest.rpartition(":") if ":" in rest else (rest, "", "")
    )
    exchange = ExchangeId(exchange_name)
    instrument = _instrument(exchange, instrument_name)
    kind = _KINDS.get(kind_name) or (SubKind(kind_name) if kind_name else default)
    return Subscription(exchange, instrument, kind)


def _instrument(exchange: ExchangeId, name: str) -> MarketDataInstrument:
    base, slash, quote = name.partition("/")
    if slash and name == name.lower():
        quote, _, kind = quote.partition(".")
        if kind in {"", InstrumentKind.SPOT}:
            return MarketDataInstrument.spot(base, quote)
        if kind == InstrumentKind.PERPETUAL:
            return MarketDataInstrument.perpetual(base, quote)
        msg = f"{name!r}: after the dot comes spot or perpetual; name others by symbol"
        raise ValueError(msg)
    if not name:
        msg = "an instrument is needed: exchange:base/quote or exchange:SYMBOL"
        raise ValueError(msg)
    from integration.exchanges.registry import connector_for

    return connector_for(exchange).instrument(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="integration", description="Market data of many venues, one vocabulary."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    venues = commands.add_parser("venues", help="list what is supported")
    venues.set_defaults(command=_venues)
    watch = commands.add_parser("watch", help="print events as they come")
    watch.add_argument("targets", nargs="+", metavar="EXCHANGE:BASE/QUOTE[:KIND]")
    watch.add_argument("--count", type=int, help="stop after so many events")
    watch.set_defaults(command=_watch)
    book = commands.add_parser("book", help="print the top of a book as it changes")
    book.add_argument("target", metavar="EXCHANGE:BASE/QUOTE")
    book.add_argument("--depth", type=int, default=5, help="levels per side")
    book.add_argument("--count", type=int, help="stop after so many prints")
    book.set_defaults(command=_book)
    sign = commands.add_parser(
        "sign",
        help="sign a request and show how, to compare with a venue's example",
        epilog="Key, secret and passphrase come from INTEGRATION_KEY, "
        "INTEGRATION_SECRET and INTEGRATION_PASSPHRASE. The secret is never shown. "
        "Example: integration sign bybit GET /v5/order/realtime --param symbol=BTCUSDT",
    )
    sign.add_argument("venue", metavar="VENUE")
    sign.add_argument("method", metavar="METHOD")
    sign.add_argument("path", metavar="PATH", help="with or without a leading slash")
    sign.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="repeatable"
    )
    sign.add_argument("--api", help="part of the venue's API, such as fapi")
    sign.add_argument("--timestamp-ms", type=int, help="instead of the present")
    sign.add_argument("--show-key", action="store_true", help="do not mask the key")
    sign.set_defaults(command=_sign)
    for command in (venues, watch, book, sign):
        command.add_argument("--json", action="store_true", help="JSON lines")
    for command in (watch, book):
        command.add_argument(
            "--websocket-url", action="append", default=[], metavar="EXCHANGE=URL"
        )
        command.add_argument(
            "--rest-url", action="append", default=[], metavar="EXCHANGE=URL"
        )
        command.add_argument("--record", type=Path, help="folder for the raw bytes")
    return parser


# venues


def _venues(options: argparse.Namespace) -> int:
    rows = [_venue_row(exchange) for exchange in _exchanges()]
    if _as_json(options):
        _write_json(rows)
        return 0
    for row in rows:
        kinds = " ".join(row["kinds"])
        _write(f"{row['exchange']:<22} {row['sequencing']:<18} {kinds}")
    return 0


def _exchanges() -> tuple[ExchangeId, ...]:
    from integration.exchanges.registry import exchanges

    return exchanges()


def _venue_row(exchange: ExchangeId) -> dict[str, Any]:
    from integration.exchanges.registry import connector_for

    connector = connector_for(exchange)
    return {
        "exchange": exchange.value,
        "url": connector.websocket_url,
        "sequencing": connector.rule.name,
        "images": connector.rule.images.value,
        "checksum": connector.checksum() is not None,
        "kinds": [kind.value for kind in SubKind if _offers(exchange, kind)],
    }


def _offers(exchange: ExchangeId, kind: SubKind) -> bool:
    from integration.exchanges.registry import connector_for

    connector = connector_for(exchange)
    for instrument in _SAMPLES:
        for interval in ("1m", "5m") if kind is SubKind.CANDLES else (None,):
            try:
                connector.topic(Subscription(exchange, instrument, kind, interval))
            except UnsupportedSubscription:
                continue
            return True
    return False


_EXPIRY = 1_900_000_000_000_000_000
_SAMPLES = (
    MarketDataInstrument.spot("btc", "usd"),
    MarketDataInstrument.perpetual("btc", "usd"),
    MarketDataInstrument.future("btc", "usd", expiry=_EXPIRY),
    MarketDataInstrument.option(
        "btc", "usd", kind=OptionKind.CALL, strike=Decimal(1), expiry=_EXPIRY
    ),
)
"""One instrument of each kind."""


# watch and book


def _watch(options: argparse.Namespace) -> int:
    subscriptions = [_target(text, SubKind.PUBLIC_TRADES) for text in options.targets]
    show = _write_json_line if _as_json(options) else _write_event

    async def run() -> None:
        from integration.market.streams import open_market_streams

        left = options.count
        config = _config(options)
        async with open_market_streams(subscriptions, config=config) as streams:
            async for event in streams:
                show(event)
                left = None if left is None else left - 1
                if left == 0:
                    return

    return _run(run)


def _book(options: argparse.Namespace) -> int:
    subscription = _target(options.target, SubKind.ORDER_BOOKS_L2)
    if subscription.kind is not SubKind.ORDER_BOOKS_L2:
        msg = f"a book is made of order_books_l2, was {subscription.kind}"
        raise _UsageError(msg)

    async def run() -> None:
        from integration.market.streams import open_market_streams

        left = options.count
        config = _config(options)
        async with open_market_streams([subscription], config=config) as streams:
            while left is None or left > 0:
                await streams.next_batch()
                _show_book(options, streams, subscription)
                left = None if left is None else left - 1

    return _run(run)


def _show_book(
    options: argparse.Namespace, streams: "MarketStreams", subscription: Subscription
) -> None:
    book = streams.books[subscription.exchange, subscription.instrument]
    if _as_json(options):
        image = msgspec.to_builtins(book.snapshot(options.depth))
        _write_json([{"state": book.state, **image}])
    else:
        _write(_table(book, options.depth))


def _table(book: "OrderBook", depth: int) -> str:
    lines = [f"{book.exchange} {book.instrument} {book.state} {book.sequence or ''}"]
    asks = book.raw_asks(depth)
    lines.extend(f"{'':>20} {p:>16} {a}" for p, a in reversed(asks))
    lines.extend(f"{a:>20} {p:>16}" for p, a in book.raw_bids(depth))
    return "\n".join(lines) + "\n"


def _run(main_task: Callable[[], Any]) -> int:
    import trio

    trio.run(main_task)
    return 0


def _target(text: str, default: SubKind) -> Subscription:
    try:
        return parse_target(text, default=default)
    except ValueError as error:
        msg = f"{text!r}: {error}"
        raise _UsageError(msg) from error


def _config(options: argparse.Namespace) -> "StreamConfig":
    from integration.market.config import StreamConfig

    return StreamConfig(
        websocket_url=_urls(options.websocket_url),
        rest_url=_urls(options.rest_url),
        recorder=options.record,
    )


def _urls(given: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in given:
        exchange, equals, url = text.partition("=")
        if not equals:
            msg = f"{text!r}: expected EXCHANGE=URL"
            raise _UsageError(msg)
        found[exchange] = url
    return found


# sign


def _sign(options: argparse.Namespace) -> int:
    from integration.signing.recipes import Call, sign_call
    from netcore.clock import ManualClock, SystemClock

    credentials = _credentials()
    call = Call(
        method=options.method,
        path=options.path,
        params=dict(_pair(text) for text in options.param),
        api=options.api,
    )
    stamp = options.timestamp_ms
    clock = SystemClock() if stamp is None else ManualClock(stamp * 1_000_000)
    try:
        prehash, signature, signed = sign_call(options.venue, call, credentials, clock)
    except ValueError as error:
        raise _UsageError(str(error)) from error

    def masked(text: str) -> str:
        key = credentials.key
        return text if options.show_key else text.replace(key, "<key>")

    headers = {name: masked(value) for name, value in signed.headers}
    shown = {
        "method": signed.method,
        "url": masked(signed.url),
        "headers": headers,
        "body": masked(signed.body),
        "prehash": masked(prehash.decode("utf-8", "backslashreplace")),
        "signature": signature,
    }
    if _as_json(options):
        _write_json([shown])
        return 0
    _write(f"{shown['method']} {shown['url']}")
    for name, value in headers.items():
        _write(f"{name}: {value}")
    for name in ("body", "prehash", "signature"):
        _write(f"\n{name}\n{shown[name]}")
    return 0


def _credentials() -> "Credentials":
    from integration.signing import Credentials

    found = {
        name: os.environ.get(f"INTEGRATION_{name.upper()}", "")
        for name in ("key", "secret", "passphrase")
    }
    if not found["key"] or not found["secret"]:
        msg = "set INTEGRATION_KEY and INTEGRATION_SECRET"
        raise _UsageError(msg)
    return Credentials(**found)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"{text!r}: expected NAME=VALUE"
        raise _UsageError(msg)
    return name, value


# Writing


def _as_json(options: argparse.Namespace) -> bool:
    return options.json or not sys.stdout.isatty()


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _write_json(rows: Iterable[Any]) -> None:
    for row in rows:
        _write(msgspec.json.encode(row).decode())


def _write_json_line(event: Any) -> None:  # noqa: ANN401  any of the stream's events
    name = type(event).__name__
    body = msgspec.to_builtins(event, enc_hook=str)
    _write_json([{"event": name, **body}])


def _write_event(event: Any) -> None:  # noqa: ANN401  as above
    if not isinstance(event, MarketEvent):
        _write(str(event))
        return
    match event.kind:
        case PublicTrade() as trade:
            text = f"{trade.side:<4} {trade.amount} @ {trade.price}"
        case OrderBookL1() as top:
            text = f"{_side(top.best_bid)} | {_side(top.best_ask)}"
        case OrderBookSnapshot() | OrderBookUpdate() as book:
            text = f"{len(book.bids)}+{len(book.asks)} levels, {book.sequence}"
        case other:
            text = str(other)
    _write(f"{event.exchange} {event.instrument} {event.kind_name}: {text}")


def _side(level: Level | None) -> str:
    return "-" if level is None else f"{level.amount} @ {level.price}"


if __name__ == "__main__":
    sys.exit(main())
