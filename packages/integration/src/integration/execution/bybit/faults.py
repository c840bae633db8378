"""Bybit's return codes as errors.

https://bybit-exchange.github.io/docs/v5/error. Errors come with HTTP
200 and a code; codes from 110000 on are of contracts, from 170000 on of spot.
"""

from collections.abc import Mapping
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
from integration.execution.bybit.messages import Envelope
from integration.execution.errors import (
    DuplicateOrder,
    FilterFailed,
    InstrumentInvalid,
    InsufficientBalance,
    OrderAlreadyClosed,
    OrderRejected,
    PostOnlyWouldCross,
    UnknownOrder,
)
from integration.rest.parser import DetailedParser

__all__ = ["BybitParser", "error_of"]

_CODES: dict[type[Exchange], tuple[int, ...]] = {
    ClockSkew: (10002,),
    Unauthorised: (10003, 10004, 10005, 10007, 10009, 10010, 33004),
    RateLimited: (10006, 10018, 10429, 170005, 170222),
    Maintenance: (10019, 3400214),
    UnknownOrder: (110001, 170213, 170190),
    OrderAlreadyClosed: (110008, 110010, 170139, 170142, 170143),
    InsufficientBalance: (
        *(110004, 110006, 110007, 110012, 110014, 110044, 110045, 110047),
        *(110051, 110052, 170033, 170131),
    ),
    DuplicateOrder: (110072, 170141),
    InstrumentInvalid: (10029, 110074, 170115, 170121, 170204),
    FilterFailed: (
        *(110003, 110094, 170116, 170124, 170130, 170132, 170133, 170134, 170135),
        *(170136, 170137, 170140, 170148, 170149, 170193, 170194),
    ),
    PostOnlyWouldCross: (170218,),
}

_KINDS = {code: kind for kind, codes in _CODES.items() for code in codes}

_UNSETTLED = frozenset({10000, 10016, 170001, 170007, 170146})
"""Server time-outs and internal errors: the request may have been carried out."""


def error_of(code: int, message: str, **about: Any) -> RemoteError:  # noqa: ANN401  status, headers, retry_after
    """Return the error that a code stands for."""
    text = f"{code}: {message}"
    if code in _UNSETTLED:
        return Http(text, sent=True, **about)
    trading = 110_000 <= code < 180_000
    kind = _KINDS.get(code, OrderRejected if trading else Exchange)
    return kind(text, code=str(code), **about)


class BybitParser(DetailedParser[Envelope]):
    """Reads answers: a code that is not zero is an error, whatever the status."""

    api_error_type = Envelope

    def error_of(self, api_error: Envelope, /, **about: Any) -> Exception:  # noqa: ANN401  as in the base
        """Return the error that an envelope stands for."""
        return error_of(api_error.ret_code, api_error.ret_msg, **about)

    def parse(
        self,
        status: int,
        headers: Mapping[str, str],
        payload: bytes,
        response_type: Any,  # noqa: ANN401  as in the base
    ) -> Any:  # noqa: ANN401  as in the base
        """Return the envelope of a success."""
        del response_type
        envelope = super().parse(status, headers, payload, Envelope)
        if envelope.ret_code != 0:
            raise self.report(status, headers, envelope)
        return envelope
