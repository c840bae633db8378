"""Binance's error codes as errors.

https://developers.binance.com/docs/binance-spot-api-docs/errors. The
code -2010 (and -1010, -2011) says only that an order was refused; why is in the
message, whose wordings that page lists.
"""

from typing import Any

from integration.errors import (
    ClockSkew,
    Exchange,
    Http,
    Maintenance,
    RateLimited,
    RemoteError,
    Unauthorised,
)
from integration.exchanges.binance.messages import Fault
from integration.execution.errors import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    OrderRejected,
    PostOnlyWouldCross,
    UnknownOrder,
)
from integration.rest.parser import DetailedParser

__all__ = ["BinanceTradingParser", "error_of"]

_KINDS: dict[int, type[Exchange]] = {
    -1002: Unauthorised,
    -1003: RateLimited,
    -1008: RateLimited,
    -1013: FilterFailed,
    -1015: RateLimited,
    -1016: Maintenance,
    -1021: ClockSkew,
    -1022: Unauthorised,
    -1111: FilterFailed,
    -1121: InstrumentInvalid,
    -2008: Unauthorised,
    -2011: UnknownOrder,
    -2013: UnknownOrder,
    -2014: Unauthorised,
    -2015: Unauthorised,
}

_UNSETTLED = frozenset({-1000, -1001, -1006, -1007})
"""Codes after which the execution status is unknown, whatever the HTTP status."""

_REJECTED = frozenset({-1010, -2010})

_WORDINGS: tuple[tuple[str, type[Exchange]], ...] = (
    ("insufficient balance", InsufficientBalance),
    ("immediately match", PostOnlyWouldCross),
    ("duplicate order", DuplicateOrder),
    ("market is closed", InstrumentInvalid),
    ("symbol is not", InstrumentInvalid),
    ("unknown order", UnknownOrder),
    ("filter failure", FilterFailed),
)


def error_of(fault: Fault, **about: Any) -> RemoteError:  # noqa: ANN401  status, headers, retry_after
    """Return the error that a code and its message stand for."""
    text = f"{fault.code}: {fault.msg}"
    if fault.code in _UNSETTLED:
        return Http(text, sent=True, **about)
    kind = _KINDS.get(fault.code, Exchange)
    if fault.code in _REJECTED:
        said = fault.msg.lower()
        kind = next((k for words, k in _WORDINGS if words in said), OrderRejected)
    return kind(text, code=str(fault.code), **about)


class BinanceTradingParser(DetailedParser[Fault]):
    """Reads answers of the private endpoints."""

    api_error_type = Fault

    def error_of(self, api_error: Fault, /, **about: Any) -> Exception:  # noqa: ANN401  as in the base
        """Return the error that a code and its message stand for."""
        return error_of(api_error, **about)
