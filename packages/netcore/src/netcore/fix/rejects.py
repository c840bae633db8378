"""Bodies of Rejects, and the checks that need no dictionary. Pure functions."""

import re

from netcore.fix.dictionary import Fault, RejectReason
from netcore.fix.fields import Message, Pair, parse_timestamp

__all__ = [
    "business_reject_body",
    "duplicate_fault",
    "heartbeat_of",
    "minimal_fault",
    "new_sequence_number",
    "plain_reject_body",
    "reject_body",
    "resend_range",
    "reverse_route",
    "text_of",
]

# From FIX 4.2 on a Reject names tag, type and reason, but 4.2 knows reasons up to 11.
_HIGHEST_REASON = {"FIX.4.2": 11}
_PLAIN = frozenset({"FIX.4.0", "FIX.4.1"})

# Who a message was for becomes who the answer is from (FIX 4.4 Vol. 2, "Third Party
# Message Routing"); FIX 4.0 has no locations.
_ROUTES = ((50, 57), (57, 50), (115, 128), (116, 129), (128, 115), (129, 116))
_LOCATIONS = ((142, 143), (143, 142), (144, 145), (145, 144))

# What a session cannot do without, of its own messages.
_REQUIRED = {b"1": (112,), b"2": (7, 16), b"3": (45,), b"4": (36,), b"A": (98, 108)}
_HEADER = (49, 56, 52)
_NUMBER = re.compile(rb"[0-9]{1,18}").fullmatch
# Thirty years of silence are enough; an `int` of more digits would be no time at all.
_SECONDS = re.compile(rb"-?[0-9]{1,9}").fullmatch
_NUMERIC = frozenset({7, 16, 36, 45, 108})

# EndSeqNo of "all there is": 0 from FIX 4.2 on, 999999 before, by some also later.
_INFINITY = frozenset({0, 999_999})


def reverse_route(message: Message, begin_string: str) -> list[Pair]:
    """Return the header fields that lead an answer back the way `message` came."""
    routes = _ROUTES if begin_string == "FIX.4.0" else _ROUTES + _LOCATIONS
    return [(back, value) for tag, back in routes if (value := message.get(tag))]


def reject_body(message: Message, fault: Fault, begin_string: str) -> list[Pair]:
    """Return the body of a Reject (3) of `message`."""
    if begin_string in _PLAIN:
        tag = "" if fault.tag is None else f" ({fault.tag})"
        return plain_reject_body(message, fault.reason.text + tag)
    body = plain_reject_body(message, fault.reason.text)
    if fault.tag is not None:
        body.append((371, b"%d" % fault.tag))
    body += _kind_of(message)
    if fault.reason <= _HIGHEST_REASON.get(begin_string, 99):
        body.append((373, b"%d" % fault.reason))
    return body


def plain_reject_body(message: Message, text: str) -> list[Pair]:
    """Return what a Reject has in every version: the number and the words."""
    return [(45, message.get(34) or b"0"), (58, text.encode())]


def business_reject_body(message: Message, reason: int, text: str) -> list[Pair]:
    """Return the body of a BusinessMessageReject (j) of `message`."""
    return [
        *plain_reject_body(message, text),
        *_kind_of(message),
        (380, b"%d" % reason),
    ]


def _kind_of(message: Message) -> list[Pair]:
    """Return RefMsgType (372); a message may come with an empty MsgType."""
    kind = message.get(35)
    return [(372, kind)] if kind else []


def heartbeat_of(message: Message) -> int | None:
    """Return HeartBtInt (108), None if it is missing or no number of seconds."""
    text = message.get(108, b"")
    return int(text) if _SECONDS(text) is not None else None


def text_of(message: Message) -> str:
    """Return Text (58), with what is not UTF-8 replaced; it is for people."""
    return message.get(58, b"").decode(errors="replace")


def minimal_fault(message: Message) -> Fault | None:
    """Check what the session itself relies on, for when there is no dictionary."""
    kind = message[35]
    for tag in (*_HEADER, *_REQUIRED.get(kind, ())):
        value = message.get(tag)
        if value is None:
            return Fault(RejectReason.REQUIRED_TAG_MISSING, tag)
        if not value:
            return Fault(RejectReason.TAG_WITHOUT_VALUE, tag)
        if tag in _NUMERIC and _NUMBER(value.removeprefix(b"-")) is None:
            return Fault(RejectReason.INCORRECT_DATA_FORMAT, tag)
    try:
        parse_timestamp(message[52])
    except ValueError:
        return Fault(RejectReason.INCORRECT_DATA_FORMAT, 52)
    return None


def duplicate_fault(message: Message) -> Fault | None:
    """Check the times of a message with PossDupFlag: 122 is there, and not after 52."""
    original = message.get(122)
    if not original:
        return Fault(RejectReason.REQUIRED_TAG_MISSING, 122)
    try:
        late = parse_timestamp(original) > parse_timestamp(message.get(52, b""))
    except ValueError:
        return Fault(RejectReason.INCORRECT_DATA_FORMAT, 122)
    return Fault(RejectReason.SENDING_TIME_ACCURACY) if late else None


def resend_range(message: Message, last_sent: int) -> tuple[int, int] | Fault:
    """Return the first and last number that a ResendRequest asks for."""
    first, last = message[7], message[16]
    for tag, value in ((7, first), (16, last)):
        if _NUMBER(value) is None:
            return Fault(RejectReason.INCORRECT_DATA_FORMAT, tag)
    begin, end = int(first), int(last)
    if end in _INFINITY or end > last_sent:
        end = last_sent
    if not 1 <= begin <= last_sent:
        return Fault(RejectReason.VALUE_OUT_OF_RANGE, 7)
    if end < begin:
        return Fault(RejectReason.VALUE_OUT_OF_RANGE, 16)
    return begin, end


def new_sequence_number(message: Message) -> int | None:
    """Return NewSeqNo (36), None if it is missing or no number."""
    text = message.get(36, b"")
    return int(text) if _NUMBER(text) is not None else None
