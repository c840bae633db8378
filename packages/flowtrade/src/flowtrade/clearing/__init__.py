"""The clearing room: a market in, a certified answer out.

    market = Market.from_models(demands, portfolios)
    clearing = clear(market)
    clearing.products["A"].price, clearing.certificate

Pure: no clock but for time limits, no input or output, no trio. Prices and rates are
float64; an answer is published only with a proof (`certificate`) that holds whoever
found it. The way through the room:

    market -> columns -> parts -> segments -> structure -> priceform
           -> interior (or highs) -> polish -> rates, prices -> certificate -> outcome
           -> joint (where there are several parts)
"""

from flowtrade.clearing.errors import (
    ClearingError,
    InvalidMarket,
    MissingExtra,
    UnboundedMarket,
    Uncertified,
)
from flowtrade.clearing.market import Market, PortfolioTerms
from flowtrade.clearing.outcome import Clearing
from flowtrade.clearing.solve import clear
from flowtrade.models.clearing import (
    Certificate,
    ClearingStatus,
    DemandOutcome,
    PartReport,
    PortfolioOutcome,
    ProductOutcome,
    RatePrice,
    SolverMode,
    SolverReport,
    ZeroReason,
)

__all__ = [
    "Certificate",
    "Clearing",
    "ClearingError",
    "ClearingStatus",
    "DemandOutcome",
    "InvalidMarket",
    "Market",
    "MissingExtra",
    "PartReport",
    "PortfolioOutcome",
    "PortfolioTerms",
    "ProductOutcome",
    "RatePrice",
    "SolverMode",
    "SolverReport",
    "UnboundedMarket",
    "Uncertified",
    "ZeroReason",
    "clear",
]
