"""Outside suites' way to the auction solver.

One JSON auction a line in, one answer a line out. An auction is `{"demand_curves":
{...}, "portfolios": {...}}`, the answer has `status` `solved`, `unbounded` or
`invalid`; `failed` where no answer could be proven. A line that is no JSON is invalid.
"""

import json
import sys
from typing import Any

from flowtrade.clearing import (
    ClearingError,
    InvalidMarket,
    Market,
    UnboundedMarket,
    clear,
)
from flowtrade.clearing.export import Dialect
from flowtrade.clearing.export import export_lp as lp_text
from flowtrade.clearing.export import export_mps as mps_text


def solve_auction(auction: dict[str, Any]) -> dict[str, Any]:
    """Clear one auction with the canonical choice of prices and rates."""
    try:
        clearing = clear(Market.from_auction(auction))
    except InvalidMarket as error:
        return {"status": "invalid", "error": error.code, "message": str(error)}
    except UnboundedMarket as error:
        return {"status": "unbounded", "orders": error.orders, "message": str(error)}
    except ClearingError as error:
        return {"status": "failed", "error": "uncertified", "message": str(error)}
    groups = {"portfolios": clearing.portfolios, "products": clearing.products}
    outcome: dict[str, Any] = {
        name: {key: {"price": row.price, "rate": row.rate} for key, row in rows.items()}
        for name, rows in groups.items()
    }
    return {"status": "solved", **outcome, "gains": clearing.gains}


def export_lp(auction: dict[str, Any]) -> bytes:
    """The auction in LP format, as the anchor writes it."""
    return lp_text(Market.from_auction(auction), dialect=Dialect.ANCHOR).encode()


def export_mps(auction: dict[str, Any]) -> bytes:
    """The auction in MPS format, as the anchor writes it."""
    return mps_text(Market.from_auction(auction), dialect=Dialect.ANCHOR).encode()


def answer(line: bytes) -> dict[str, Any]:
    """The answer to one line."""
    try:
        auction = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"status": "invalid", "error": "auction.json", "message": str(error)}
    return solve_auction(auction)


def main() -> None:
    """Answer every line of standard input."""
    for line in sys.stdin.buffer:
        if line.strip():
            print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
