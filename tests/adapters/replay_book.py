"""Play a recorded session; print what became of each message, then the book."""

import json
import sys
from pathlib import Path
from typing import Any

from integration.errors import IntegrationError
from integration.market.books import OrderBook
from integration.market.playback import Playback
from integration.models import ExchangeId, MarketDataInstrument

_TOP = 10
_ONE_ARGUMENT = 2
_ANY = MarketDataInstrument.spot("any", "any")


class _Number(float):
    """A JSON number that is written as it was spelled."""

    def __new__(cls, text: str) -> "_Number":
        number = super().__new__(cls, text)
        number.text = text  # type: ignore[attr-defined]  # a slot would need a layout
        return number

    def __repr__(self) -> str:
        return self.text  # type: ignore[attr-defined,no-any-return]  # see __new__


def play(session: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one line per message and the final book."""
    playback = Playback(
        ExchangeId(session["exchange"]), instruments=lambda _symbol: _ANY
    )
    lines: list[dict[str, Any]] = []
    for i, message in enumerate(session["messages"]):
        payload = json.dumps(message["raw"]).encode()
        time = round(message.get("t", 0) * 1e9)
        if message["transport"] == "http":
            playback.feed_image(payload, time, symbol=session["symbol"])
        else:
            playback.feed(payload, time)
        lines.append({"i": i, "outcome": playback.last_outcome})
    # A session without messages about a book ends with an empty one.
    book = playback.books.get(_ANY) or OrderBook(session["exchange"], "any")
    final = {
        "sequence": book.sequence,
        "bids_top": book.raw_bids(_TOP),
        "asks_top": book.raw_asks(_TOP),
        "bid_levels": book.bid_count,
        "ask_levels": book.ask_count,
        "crossed": book.crossed,
    }
    return [*lines, {"final": final}]


def main() -> int:
    """Play the file named on the command line; what is wrong goes to stderr."""
    if len(sys.argv) != _ONE_ARGUMENT:
        print("usage: replay_book.py FILE", file=sys.stderr)
        return 2
    try:
        session = json.loads(Path(sys.argv[1]).read_bytes(), parse_float=_Number)
        lines = play(session)
    except (OSError, ValueError, LookupError, TypeError, IntegrationError) as error:
        print(f"{sys.argv[1]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for line in lines:
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
