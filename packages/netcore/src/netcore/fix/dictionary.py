"""Which fields a FIX message may and must have, and what they may hold.

A *light* dictionary: it knows every tag and type of value of each FIX version, and
the structure of all messages of FIX 4.4; of the other versions that of the session
messages, NewOrderSingle and SecurityDefinition only. Of other messages it checks what
needs no structure: that tags are defined, have a value of the right form, and that
header fields come first. `Dictionary.extended` adds what a venue has beyond that. It is
no code generator and turns nothing into objects.

The checks and their order follow FIX 4.4 Vol. 2, "Session Reject Reasons", as the
engines that are in use apply them: order of header and body, message type, required
tags, then field by field in the message's order.
"""

import calendar
import enum
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import msgspec

from netcore.fix import tables, tables44, values
from netcore.fix.fields import Message, Pair, parse_timestamp

__all__ = [
    "APPLICATION_VERSIONS",
    "SESSION_TYPES",
    "Dictionary",
    "Fault",
    "FieldType",
    "RejectReason",
    "dictionary",
]

SESSION_TYPES = frozenset("012345A")
"""MsgTypes of the session layer; FIXT's XMLnonFIX (n) is an application message."""

APPLICATION_VERSIONS = {"7": "FIX.5.0", "8": "FIX.5.0SP1", "9": "FIX.5.0SP2"}
"""ApplVerID (1128) and DefaultApplVerID (1137) of the versions under FIXT.1.1."""

USER_DEFINED = 5000
"""Tags from here on are for agreements between two parties (FIX 4.4 Vol. 1)."""


class RejectReason(enum.IntEnum):
    """SessionRejectReason (373)."""

    INVALID_TAG_NUMBER = 0
    REQUIRED_TAG_MISSING = 1
    TAG_NOT_DEFINED_FOR_MESSAGE = 2
    UNDEFINED_TAG = 3
    TAG_WITHOUT_VALUE = 4
    VALUE_OUT_OF_RANGE = 5
    INCORRECT_DATA_FORMAT = 6
    DECRYPTION_PROBLEM = 7
    SIGNATURE_PROBLEM = 8
    COMP_ID_PROBLEM = 9
    SENDING_TIME_ACCURACY = 10
    INVALID_MSG_TYPE = 11
    TAG_REPEATED = 13
    TAG_OUT_OF_ORDER = 14
    GROUP_OUT_OF_ORDER = 15
    GROUP_COUNT = 16
    SOH_IN_VALUE = 17
    OTHER = 99

    @property
    def text(self) -> str:
        """The words for Text (58), those that the common engines use."""
        return _REASON_TEXTS[self]


_REASON_TEXTS = {
    RejectReason.INVALID_TAG_NUMBER: "Invalid tag number",
    RejectReason.REQUIRED_TAG_MISSING: "Required tag missing",
    RejectReason.TAG_NOT_DEFINED_FOR_MESSAGE: "Tag not defined for this message type",
    RejectReason.UNDEFINED_TAG: "Undefined tag",
    RejectReason.TAG_WITHOUT_VALUE: "Tag specified without a value",
    RejectReason.VALUE_OUT_OF_RANGE: "Value is incorrect (out of range) for this tag",
    RejectReason.INCORRECT_DATA_FORMAT: "Incorrect data format for value",
    RejectReason.DECRYPTION_PROBLEM: "Decryption problem",
    RejectReason.SIGNATURE_PROBLEM: "Signature problem",
    RejectReason.COMP_ID_PROBLEM: "CompID problem",
    RejectReason.SENDING_TIME_ACCURACY: "SendingTime accuracy problem",
    RejectReason.INVALID_MSG_TYPE: "Invalid MsgType",
    RejectReason.TAG_REPEATED: "Tag appears more than once",
    RejectReason.TAG_OUT_OF_ORDER: "Tag specified out of required order",
    RejectReason.GROUP_OUT_OF_ORDER: "Out of order repeating group members",
    RejectReason.GROUP_COUNT: "Incorrect NumInGroup count for repeating group",
    RejectReason.SOH_IN_VALUE: "Non-data value includes field delimiter",
    RejectReason.OTHER: "Other",
}


@final
class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a message.

    Attributes:
        reason: SessionRejectReason (373).
        tag: RefTagID (371), None where no one tag is to blame.
    """

    reason: RejectReason
    tag: int | None = None


# -- values --------------------------------------------------------------------------


class FieldType(enum.Enum):
    """What the text of a field may look like."""

    TEXT = "TEXT"
    BOOLEAN = "BOOLEAN"
    CHAR = "CHAR"
    COUNT = "COUNT"
    DATE = "DATE"
    DAY = "DAY"
    INT = "INT"
    MONTH = "MONTH"
    NUMBER = "NUMBER"
    TIME = "TIME"
    TIMESTAMP = "TIMESTAMP"


def _is_timestamp(value: bytes) -> bool:
    try:
        parse_timestamp(value)
    except ValueError:
        return False
    return True


def _is_date(value: bytes) -> bool:
    if len(value) != 8 or not value.isdigit():
        return False
    year, month, day = int(value[:4]), int(value[4:6]), int(value[6:])
    return (
        year > 0
        and 1 <= month <= 12
        and 1 <= day <= calendar.monthrange(year, month)[1]
    )


def _form(pattern: bytes) -> Callable[[bytes], bool]:
    match = re.compile(pattern).fullmatch
    return lambda value: match(value) is not None


# Neither a plus sign nor an exponent is allowed in a number (FIX 4.4 Vol. 1, "Data
# Types").
_FORMS: dict[FieldType, Callable[[bytes], bool]] = {
    FieldType.BOOLEAN: _form(rb"[YN]"),
    FieldType.CHAR: _form(rb"[^\x01]"),
    FieldType.COUNT: _form(rb"[0-9]+"),
    FieldType.DATE: _is_date,
    FieldType.DAY: _form(rb"0?[1-9]|[12][0-9]|3[01]"),
    FieldType.INT: _form(rb"-?[0-9]+"),
    FieldType.MONTH: _form(rb"[0-9]{4}(0[1-9]|1[0-2])([0-3][0-9]|w[1-5])?"),
    FieldType.NUMBER: _form(rb"-?([0-9]+\.?[0-9]*|\.[0-9]+)"),
    FieldType.TIME: _form(
        rb"([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)(\.[0-9]{1,12})?)?"
    ),
    FieldType.TIMESTAMP: _is_timestamp,
}
# Values are lists parted by blanks (FIX 4.4 Vol. 1, "MultipleValueString"): ExecInst,
# QuoteCondition, TradeCondition, OpenCloseSettlFlag, FinancialStatus, CorporateAction,
# OrderRestrictions, Scope.
_MULTIPLE = frozenset({18, 276, 277, 286, 291, 292, 529, 546})


# -- structure -----------------------------------------------------------------------


@final
class _Spec(msgspec.Struct, frozen=True, eq=False):
    """The fields of a message or of one member of a group, in their order."""

    order: dict[int, int]
    required: tuple[int, ...]
    groups: "dict[int, _Spec]"

    @property
    def delimiter(self) -> int:
        """The tag that every member of a group begins with."""
        return next(iter(self.order))


_TOKENS = re.compile(r"([0-9]+)(!?)(\()?|(\))").finditer


def _parse_spec(text: str) -> _Spec:
    return _read_spec(_TOKENS(text))


def _read_spec(tokens: Iterator[re.Match[str]]) -> _Spec:
    order: dict[int, int] = {}
    required: list[int] = []
    groups: dict[int, _Spec] = {}
    for token in tokens:
        if token[4]:
            break
        tag = int(token[1])
        order[tag] = len(order)
        if token[2]:
            required.append(tag)
        if token[3]:
            groups[tag] = _read_spec(tokens)
    return _Spec(order, tuple(required), groups)


_COMPONENT = re.compile(r"\{(\w+)\}").sub


def _expanded(text: str) -> str:
    """Return `text` with the fields of component blocks in place of their names."""
    return _COMPONENT(lambda name: _expanded(tables44.COMPONENTS[name[1]]), text)


@functools.cache
def _specs(version: str) -> "dict[str, _Spec]":
    """Return the bodies of a version's messages by their types."""
    texts = dict(tables.MESSAGES[version])
    if version == "FIX.4.4":
        texts.update(tables44.MESSAGES)
    return {name: _parse_spec(_expanded(text)) for name, text in texts.items()}


def _parse_tags(text: str) -> frozenset[int]:
    tags: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        tags.update(range(int(first), int(last or first) + 1))
    return frozenset(tags)


@functools.cache
def _types() -> dict[int, FieldType]:
    return {
        tag: FieldType(name)
        for name, tags in tables.TYPES.items()
        for tag in _parse_tags(tags)
    }


@functools.cache
def _enums() -> dict[int, frozenset[bytes]]:
    return {
        tag: frozenset(value.encode() for value in known.split())
        for tag, known in values.ENUMS.items()
    }


# -- the dictionary ------------------------------------------------------------------


@final
class Dictionary:
    """What one FIX version (session and application layer) allows.

    Made by `dictionary`; immutable. `extended` returns a larger one.

    Attributes:
        begin_string: BeginString (8).
        version: The application version, such as "FIX.4.4" or "FIX.5.0SP2".
        user_defined: Whether tags from 5000 on are allowed everywhere.
    """

    __slots__ = (
        "_admin_tags",
        "_enums",
        "_header",
        "_header_tags",
        "_messages",
        "_msg_types",
        "_tags",
        "_trailer",
        "_types",
        "begin_string",
        "user_defined",
        "version",
    )

    def __init__(
        self, begin_string: str, version: str, *, user_defined: bool = True
    ) -> None:
        self.begin_string = begin_string
        self.version = version
        self.user_defined = user_defined
        self._header = _parse_spec(tables.HEADERS[begin_string])
        self._header_tags = frozenset(self._header.order).union(
            *(group.order for group in self._header.groups.values())
        )
        self._trailer = _parse_spec(tables.TRAILER)
        self._admin_tags = _parse_tags(tables.DEFINED[begin_string])
        self._tags = _parse_tags(tables.DEFINED[version]) | self._header_tags
        self._msg_types = frozenset(
            f"{tables.MSG_TYPES[begin_string]} {tables.MSG_TYPES[version]}".split()
        )
        self._messages = {**_specs(version), **_specs(begin_string)}
        self._types: Mapping[int, FieldType] = _types()
        self._enums: Mapping[int, frozenset[bytes]] = _enums()

    def __repr__(self) -> str:
        return f"<Dictionary {self.begin_string} {self.version}>"

    def extended(
        self,
        *,
        fields: Mapping[int, FieldType] | None = None,
        messages: Mapping[str, str] | None = None,
        enums: Mapping[int, Sequence[bytes]] | None = None,
    ) -> "Dictionary":
        """Return a dictionary that knows more, such as a venue's own fields.

        Args:
            fields: Further tags, or other types of known ones.
            messages: Body fields of message types in the notation of
                `netcore.fix.tables`: `"11! 55! 386(336 625)"`. They replace what
                was known of the type.
            enums: Closed sets of values; an empty one lifts a set.
        """
        new = object.__new__(Dictionary)
        for name in self.__slots__:
            object.__setattr__(new, name, getattr(self, name))
        fields, messages, enums = fields or {}, messages or {}, enums or {}
        new._types = {**self._types, **fields}
        new._tags = self._tags | fields.keys()
        new._admin_tags = self._admin_tags | fields.keys()
        new._msg_types = self._msg_types | messages.keys()
        parsed = {name: _parse_spec(text) for name, text in messages.items()}
        new._messages = {**self._messages, **parsed}
        new._enums = {**self._enums, **{k: frozenset(v) for k, v in enums.items()}}
        return new

    def validate(self, message: Message) -> Fault | None:
        """Return what is wrong with `message`, None if nothing is."""
        fields = message.fields
        fault = self._check_layout(fields)
        if fault is not None:
            return fault
        kind = message.type
        if kind not in self._msg_types:
            return Fault(RejectReason.INVALID_MSG_TYPE)
        spec = self._messages.get(kind)
        for tag in (*self._header.required, *(spec.required if spec else ())):
            if tag not in message:
                return Fault(RejectReason.REQUIRED_TAG_MISSING, tag)
        tags = self._admin_tags if kind in SESSION_TYPES else self._tags
        return self._check_fields(fields, spec, tags)

    def canonical(self, kind: str, body: Sequence[Pair]) -> list[Pair]:
        """Return body fields by ascending tag, each group's members behind its count.

        Two encodings of the same message become equal by this. Fields of types whose
        structure is unknown are sorted only if no tag is there twice.
        """
        spec = self._messages.get(kind)
        if spec is None:
            tags = {tag for tag, _ in body}
            return sorted(body) if len(tags) == len(body) else list(body)
        runs: list[list[Pair]] = []
        position = 0
        while position < len(body):
            end = position + 1
            group = spec.groups.get(body[position][0])
            if group is not None and body[position][1] != b"0":
                end, _ = _walk_group(body, end, group)
            runs.append(list(body[position:end]))
            position = end
        runs.sort(key=lambda run: run[0][0])
        return [pair for run in runs for pair in run]

    def _check_layout(self, fields: Sequence[Pair]) -> Fault | None:
        """Find a header field behind the body, or a body field behind the trailer."""
        header, trailer = self._header_tags, self._trailer.order
        part = 0
        for tag, _ in fields:
            now = 0 if tag in header else 2 if tag in trailer else 1
            if now < part:
                return Fault(RejectReason.TAG_OUT_OF_ORDER, tag)
            part = now
        return None

    def _check_fields(
        self, fields: Sequence[Pair], spec: _Spec | None, tags: frozenset[int]
    ) -> Fault | None:
        seen: set[int] = set()
        position = 0
        while position < len(fields):
            tag, value = fields[position]
            home = self._home(tag, spec)
            fault = self._check_value(tag, value, tags)
            if fault is not None:
                return fault
            if home is None:
                if spec is not None and not self._allowed(tag):
                    return Fault(RejectReason.TAG_NOT_DEFINED_FOR_MESSAGE, tag)
            elif tag in seen:
                return Fault(RejectReason.TAG_REPEATED, tag)
            seen.add(tag)
            position += 1
            group = None if home is None else home.groups.get(tag)
            if group is not None and not _counts(value, 0):
                position, fault = self._check_group(fields, position, group, tags)
                if fault is not None:
                    return fault
        return None

    def _check_group(
        self, fields: Sequence[Pair], start: int, spec: _Spec, tags: frozenset[int]
    ) -> tuple[int, Fault | None]:
        """Check a group's members; return where the fields after it begin."""
        count_tag, stated = fields[start - 1]
        end, found = _walk_group(fields, start, spec)
        for tag, value in fields[start:end]:
            fault = self._check_value(tag, value, tags)
            if fault is not None:
                return end, fault
        fault = _group_order(fields, start, end, spec)
        fault = fault or _group_lacks(fields, start, end, spec)
        if fault is None and not _counts(stated, found):
            fault = Fault(RejectReason.GROUP_COUNT, count_tag)
        return end, fault

    def _check_value(
        self, tag: int, value: bytes, tags: frozenset[int]
    ) -> Fault | None:
        if tag not in tags and not self._allowed(tag):
            return Fault(RejectReason.INVALID_TAG_NUMBER, tag)
        if not value:
            return Fault(RejectReason.TAG_WITHOUT_VALUE, tag)
        check = _FORMS.get(self._types.get(tag, FieldType.TEXT))
        if check is not None and tag not in _MULTIPLE and not check(value):
            return Fault(RejectReason.INCORRECT_DATA_FORMAT, tag)
        allowed = self._enums.get(tag)
        if allowed:
            values = value.split(b" ") if tag in _MULTIPLE else (value,)
            if not allowed.issuperset(values):
                return Fault(RejectReason.VALUE_OUT_OF_RANGE, tag)
        return None

    def _home(self, tag: int, spec: _Spec | None) -> _Spec | None:
        for candidate in (self._header, spec, self._trailer):
            if candidate is not None and tag in candidate.order:
                return candidate
        return None

    def _allowed(self, tag: int) -> bool:
        return self.user_defined and tag >= USER_DEFINED


def _counts(stated: bytes, found: int) -> bool:
    """Whether a NumInGroup, which may have any number of digits, is `found`."""
    return (stated.lstrip(b"0") or b"0") == b"%d" % found


def _walk_group(fields: Sequence[Pair], start: int, spec: _Spec) -> tuple[int, int]:
    """Return where a group ends and how many members it has."""
    position, found = start, 0
    while position < len(fields):
        tag, value = fields[position]
        if tag not in spec.order:
            break
        found += tag == spec.delimiter
        position += 1
        nested = spec.groups.get(tag)
        if nested is not None and value != b"0":
            position, _ = _walk_group(fields, position, nested)
    return position, found


def _group_order(
    fields: Sequence[Pair], start: int, end: int, spec: _Spec
) -> Fault | None:
    """Find a member field out of order or twice, here or in a nested group."""
    position, last = start, -1
    while position < end:
        tag, value = fields[position]
        place = spec.order[tag]
        if place == 0:
            last = -1
        elif last < 0 or place < last:
            return Fault(RejectReason.GROUP_OUT_OF_ORDER, tag)
        elif place == last:
            return Fault(RejectReason.TAG_REPEATED, tag)
        last = place
        position += 1
        nested = spec.groups.get(tag)
        if nested is not None and value != b"0":
            stop, found = _walk_group(fields, position, nested)
            if not _counts(value, found):
                return Fault(RejectReason.GROUP_COUNT, tag)
            fault = _group_order(fields, position, stop, nested)
            if fault is not None:
                return fault
            position = stop
    return None


def _group_lacks(
    fields: Sequence[Pair], start: int, end: int, spec: _Spec
) -> Fault | None:
    """Find a member, here or in a nested group, without a field that it must have."""
    position, there = start, set[int]()
    while position <= end:
        tag, value = fields[position] if position < end else (spec.delimiter, b"")
        if tag == spec.delimiter:
            for required in spec.required if there else ():
                if required not in there:
                    return Fault(RejectReason.REQUIRED_TAG_MISSING, required)
            there = set()
        there.add(tag)
        position += 1
        nested = spec.groups.get(tag)
        if nested is not None and value.strip(b"0"):
            stop, _ = _walk_group(fields, position, nested)
            fault = _group_lacks(fields, position, stop, nested)
            if fault is not None:
                return fault
            position = stop
    return None


@functools.cache
def dictionary(
    begin_string: str, appl_ver_id: str = "", *, user_defined: bool = True
) -> Dictionary:
    """Return the dictionary of a version.

    Args:
        begin_string: "FIX.4.0" to "FIX.4.4" or "FIXT.1.1".
        appl_ver_id: For FIXT.1.1 the DefaultApplVerID (1137): "7", "8" or "9".
        user_defined: Whether tags from 5000 on are allowed everywhere.

    Raises:
        LookupError: If there is none for that version.
    """
    version = begin_string
    if begin_string == "FIXT.1.1":
        version = APPLICATION_VERSIONS.get(appl_ver_id, "")
    if begin_string not in tables.HEADERS or version not in tables.DEFINED:
        known = ", ".join(sorted(tables.HEADERS))
        raise LookupError(
            f"no dictionary for BeginString {begin_string!r} with ApplVerID "
            f"{appl_ver_id!r}; there are {known}, the last with 7, 8 and 9"
        )
    return Dictionary(begin_string, version, user_defined=user_defined)
