"""The table of docs/venues.md says what the connectors say."""

from decimal import Decimal
from pathlib import Path

from integration.errors import UnsupportedSubKind
from integration.exchanges.registry import connector_for, exchanges
from integration.models import (
    InstrumentKind,
    MarketDataInstrument,
    OptionKind,
    SubKind,
    Subscription,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/venues.md"
EXPIRY = 1_800_000_000 * 10**9
LETTERS = {
    InstrumentKind.SPOT: "S",
    InstrumentKind.PERPETUAL: "P",
    InstrumentKind.FUTURE: "F",
    InstrumentKind.OPTION: "O",
}
COLUMNS = {
    "trades": SubKind.PUBLIC_TRADES,
    "aggregated": SubKind.AGGREGATED_TRADES,
    "L1": SubKind.ORDER_BOOKS_L1,
    "L2": SubKind.ORDER_BOOKS_L2,
    "candles": SubKind.CANDLES,
    "liquidations": SubKind.LIQUIDATIONS,
    "funding": SubKind.FUNDING_RATES,
    "mark": SubKind.MARK_PRICES,
    "index": SubKind.INDEX_PRICES,
    "open interest": SubKind.OPEN_INTEREST,
}


def samples():
    for quote in ("usd", "usdt"):
        yield MarketDataInstrument.spot("btc", quote)
        yield MarketDataInstrument.perpetual("btc", quote)
        yield MarketDataInstrument.future("btc", quote, expiry=EXPIRY)
        yield MarketDataInstrument.option(
            "btc", quote, kind=OptionKind.CALL, strike=Decimal(1), expiry=EXPIRY
        )


def cell(exchange, kind):
    """Letters of the instruments that have a kind; in brackets if it is polled."""
    connector, found = connector_for(exchange), {}
    for instrument in samples():
        for interval in ("1m", "5m") if kind is SubKind.CANDLES else (None,):
            wanted = Subscription(exchange, instrument, kind, interval)
            try:
                topic = connector.topic(wanted)
            except UnsupportedSubKind:
                continue
            polled = connector.poll_request(topic) is not None
            found[LETTERS[instrument.kind]] = polled
    letters = "".join(letter for letter in LETTERS.values() if letter in found)
    return f"({letters})" if any(found.values()) else letters or "\u2013"


def table():
    lines = ["| exchange | " + " | ".join(COLUMNS) + " |", "|" + "---|" * 11]
    for exchange in exchanges():
        cells = (cell(exchange, kind) for kind in COLUMNS.values())
        lines.append(f"| `{exchange}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_table_of_kinds_is_what_the_connectors_offer():
    assert table() in DOCUMENT.read_text(), f"docs/venues.md wants\n{table()}"


def test_every_kind_has_a_column_but_the_one_that_no_venue_has():
    assert set(SubKind) - set(COLUMNS.values()) == {SubKind.ORDER_BOOKS_L3}
