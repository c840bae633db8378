"""The command `integration sign`: how a request is signed, to be compared."""

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from integration.cli.arguments import new_parser, pairs
from integration.cli.output import as_json, write, write_json
from netcore.cli.exits import Exit, UsageFault

if TYPE_CHECKING:
    from integration.signing import Credentials

__all__ = ["add_parser"]

_VARIABLE: Final = "INTEGRATION_"

_EPILOG: Final = """\
Key, secret and passphrase come from INTEGRATION_KEY, INTEGRATION_SECRET and
INTEGRATION_PASSPHRASE. Secret and passphrase are never shown, the key only with
--show-key. Nothing is sent.

examples:
  integration sign bybit GET /v5/order/realtime --param symbol=BTCUSDT
  integration sign binance POST /fapi/v1/order --api fapi --param symbol=BTCUSDT --json
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "sign",
        summary="sign a request and show how, to compare with a venue's example",
        epilog=_EPILOG,
    )
    parser.add_argument("venue", metavar="VENUE")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("path", metavar="PATH", help="with or without a leading slash")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="repeatable",
    )
    parser.add_argument("--api", help="part of the venue's API, such as fapi")
    parser.add_argument("--timestamp-ms", type=int, help="instead of the present")
    parser.add_argument("--show-key", action="store_true", help="do not mask the key")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> Exit:
    """Sign and show."""
    from integration.signing.recipes import Call, recipe_of, sign_call
    from netcore.clock import ManualClock, SystemClock

    try:
        venue, recipe = recipe_of(options.venue)
    except ValueError as error:
        raise UsageFault(str(error)) from error
    credentials = _credentials()
    if recipe.passphrase and not credentials.passphrase:
        raise UsageFault(
            f"keys of {venue} have a passphrase: set {_VARIABLE}PASSPHRASE"
        )
    call = Call(
        method=options.method,
        path=options.path,
        params=pairs(options.param),
        api=options.api,
    )
    stamp = options.timestamp_ms
    clock = SystemClock() if stamp is None else ManualClock(stamp * 1_000_000)
    try:
        prehash, signature, signed = sign_call(options.venue, call, credentials, clock)
    except (ValueError, OverflowError) as error:
        raise UsageFault(str(error)) from error

    def masked(text: str) -> str:
        if recipe.passphrase:
            text = text.replace(credentials.passphrase, "<passphrase>")
        return text if options.show_key else text.replace(credentials.key, "<key>")

    headers = {name: masked(value) for name, value in signed.headers}
    shown = {
        "method": signed.method,
        "url": masked(signed.url),
        "headers": headers,
        "body": masked(signed.body),
        "prehash": masked(prehash.decode("utf-8", "backslashreplace")),
        "signature": signature,
    }
    if as_json(options):
        write_json([shown])
    else:
        _show(shown, headers)
    return Exit.DONE


def _show(shown: Mapping[str, object], headers: Mapping[str, str]) -> None:
    write(f"{shown['method']} {shown['url']}")
    for name, value in headers.items():
        write(f"{name}: {value}")
    for name in ("body", "prehash", "signature"):
        write(f"\n{name}\n{shown[name]}")


def _credentials() -> "Credentials":
    from integration.signing import Credentials

    found = {
        name: os.environ.get(f"{_VARIABLE}{name.upper()}", "")
        for name in ("key", "secret", "passphrase")
    }
    if not found["key"] or not found["secret"]:
        msg = f"set {_VARIABLE}KEY and {_VARIABLE}SECRET"
        raise UsageFault(msg)
    return Credentials(**found)
