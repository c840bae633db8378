"""Close codes and the body of a close frame (RFC 6455 §5.5.1, §7.4).

What may live here: pure functions; what a code does to a connection is
`netcore.ws.connection`'s.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from netcore.ws.frames import Fault

__all__ = [
    "ORDERLY",
    "CloseCode",
    "Closing",
    "check_close",
    "decode_close",
    "encode_close",
]


class CloseCode(IntEnum):
    """The codes of IANA's registry "WebSocket Close Code Number"."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


ORDERLY: Final = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY})
"""Ends that are no faults: done, and going away (§7.4.1)."""


class Closing(NamedTuple):
    """What a close frame says.

    Attributes:
        code: 1005 if it says nothing.
        reason: The words beside it.
    """

    code: int
    reason: str


# 1005 and 1006 (and TLS's 1015) stand for what no frame said; 1004 has no meaning yet
# (§7.4.1). 3000 to 3999 are registered by libraries, 4000 to 4999 are private (§7.4.2).
_SENDABLE = frozenset(CloseCode) - {CloseCode.NO_STATUS, CloseCode.ABNORMAL}
_FREE_CODES = range(3000, 5000)

_MAX_REASON = 123
"""125 bytes of a control frame less the code's two."""


def _may_be_sent(code: int) -> bool:
    return code in _SENDABLE or code in _FREE_CODES


def decode_close(body: bytes) -> Closing | Fault:
    """Return what the body of a close frame says, or which rule it breaks."""
    if not body:
        return Closing(CloseCode.NO_STATUS, "")
    if len(body) == 1:
        return Fault(CloseCode.PROTOCOL_ERROR, "a close frame with half a code")
    code = int.from_bytes(body[:2], "big")
    if not _may_be_sent(code):
        return Fault(CloseCode.PROTOCOL_ERROR, f"close code {code} must not be sent")
    try:
        reason = body[2:].decode()
    except UnicodeDecodeError:
        return Fault(CloseCode.INVALID_DATA, "a close reason that is not UTF-8")
    return Closing(code, reason)


def check_close(code: int, reason: str = "") -> None:
    """Check what we are about to say.

    Raises:
        ValueError: If the code is not for sending or the reason is too long.
    """
    if code == CloseCode.NO_STATUS and not reason:
        return
    if not _may_be_sent(code):
        raise ValueError(
            f"close code must be 1000-1003, 1007-1014, 3000-4999, or 1005 without "
            f"a reason, was {code}"
        )
    size = len(reason.encode())
    if size > _MAX_REASON:
        raise ValueError(f"a close reason has at most {_MAX_REASON} bytes, was {size}")


def encode_close(code: int, reason: str = "") -> bytes:
    """Return the body of a close frame; 1005 makes it an empty one.

    Raises:
        ValueError: As `check_close` does.
    """
    check_close(code, reason)
    if code == CloseCode.NO_STATUS:
        return b""
    return code.to_bytes(2, "big") + reason.encode()
