"""The command `integration venues`: what is supported."""

import argparse
from decimal import Decimal
from typing import Any, Final

from integration.cli.arguments import new_parser
from integration.cli.output import as_json, write, write_json
from integration.errors import UnsupportedSubscription
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    OptionKind,
    SubKind,
    Subscription,
)
from netcore.cli.exits import Exit

__all__ = ["add_parser"]

_EPILOG: Final = """\
Each line is an exchange, the rule by which its books are kept whole, and the kinds of
data it has. With --json also where it is, where images of books come from, and whether
it sends checksums.

examples:
  integration venues
  integration venues --json | jq 'select(.checksum) | .exchange'
"""

_EXPIRY: Final = 1_900_000_000_000_000_000
_SAMPLES: Final = (
    MarketDataInstrument.spot("btc", "usd"),
    MarketDataInstrument.perpetual("btc", "usd"),
    MarketDataInstrument.future("btc", "usd", expiry=_EXPIRY),
    MarketDataInstrument.option(
        "btc", "usd", kind=OptionKind.CALL, strike=Decimal(1), expiry=_EXPIRY
    ),
)
"""One instrument of each kind."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands, "venues", summary="list what is supported", epilog=_EPILOG
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> Exit:
    """List the venues."""
    from integration.exchanges.registry import exchanges

    rows = [_row(exchange) for exchange in exchanges()]
    if as_json(options):
        write_json(rows)
        return Exit.DONE
    for row in rows:
        kinds = " ".join(row["kinds"])
        write(f"{row['exchange']:<22} {row['sequencing']:<18} {kinds}")
    return Exit.DONE


def _row(exchange: ExchangeId) -> dict[str, Any]:
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
