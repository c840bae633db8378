"""FIX messages for people and for programs: names beside numbers, groups indented.

Pure: entries in, lines or JSON's values out.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import msgspec

from netcore.cli.fixlog import FixEntry, Garbage
from netcore.cli.fixwords import (
    field_name,
    group_members,
    is_secret,
    message_name,
    value_name,
)
from netcore.cli.output import preview, printable
from netcore.fix.dictionary import dictionary
from netcore.fix.fields import Message, Pair

__all__ = [
    "Node",
    "check",
    "entry_json",
    "entry_lines",
    "headline",
    "tree",
]

_HIDDEN: Final = "***"
_NAME_WIDTH: Final = 22
# What the headline says, and what the codec has checked.
_ENVELOPE: Final = frozenset({8, 9, 35, 34, 49, 56, 52, 10})


@final
class Node(msgspec.Struct, frozen=True):
    """A field, and the members of the group that it counts.

    Attributes:
        tag: The field's tag.
        value: Its value.
        members: One tuple of nodes for each member; None where it counts none.
    """

    tag: int
    value: bytes
    members: "tuple[tuple[Node, ...], ...] | None" = None


def tree(fields: Sequence[Pair]) -> tuple[Node, ...]:
    """Return the fields of a message with those of groups beneath their counts.

    A member begins with the tag that follows the count and ends before a tag that no
    member has in any version of FIX, or that it has already.
    """
    nodes, _ = _nodes(fields, 0, None)
    return nodes


def _nodes(
    fields: Sequence[Pair], start: int, allowed: frozenset[int] | None
) -> tuple[tuple[Node, ...], int]:
    """Return the nodes from `start` on, and where the first other field stands.

    Args:
        fields: All fields.
        start: Where to begin.
        allowed: The tags of a member, each at most once; None outside of groups.
    """
    nodes: list[Node] = []
    seen: set[int] = set()
    place = start
    while place < len(fields):
        tag, value = fields[place]
        if allowed is not None and (tag not in allowed or tag in seen):
            break
        seen.add(tag)
        place += 1
        members = group_members(tag)
        if members is None or not value.isdigit() or not int(value):
            nodes.append(Node(tag, value))
            continue
        found, place = _members(fields, place, members)
        nodes.append(Node(tag, value, found))
    return tuple(nodes), place


def _members(
    fields: Sequence[Pair], start: int, allowed: frozenset[int]
) -> tuple[tuple[tuple[Node, ...], ...], int]:
    found: list[tuple[Node, ...]] = []
    place = start
    first = fields[start][0] if start < len(fields) else 0
    while place < len(fields) and fields[place][0] == first and first in allowed:
        member, place = _nodes(fields, place, allowed)
        found.append(member)
    return tuple(found), place


def headline(message: Message) -> str:
    """Return who says what to whom, and when, in one line."""
    kind = message.get(35, b"?").decode("latin-1")
    name = message_name(kind) or "unknown type"
    words = [f"{name} ({printable(kind, one_line=True)})"]
    for tag, before in ((34, "seq "), (49, "from "), (56, "to "), (52, "at ")):
        value = message.get(tag)
        if value is not None:
            words.append(before + _text(value))
    if message.flag(43):
        words.append("possible duplicate")
    return "  ".join(words)


def entry_lines(
    entry: FixEntry | Garbage, *, envelope: bool = False, secrets: bool = False
) -> Iterator[str]:
    """Yield the lines that show an entry.

    Args:
        entry: What to show.
        envelope: Whether to show the fields that the headline speaks of, too.
        secrets: Whether to show passwords and signatures.
    """
    if isinstance(entry, Garbage):
        yield f"{_place(entry)}  GARBLED {entry.size} bytes: {entry.cause}"
        yield f"    {preview(entry.head, 100, more=entry.size > len(entry.head))}"
        return
    before = f"  {printable(entry.prefix, one_line=True)}" if entry.prefix else ""
    yield f"{_place(entry)}{before}  {headline(entry.message)}"
    hidden = frozenset() if envelope else _ENVELOPE
    nodes = (node for node in tree(entry.message.fields) if node.tag not in hidden)
    yield from _node_lines(nodes, "    ", secrets=secrets)


def _place(entry: FixEntry | Garbage) -> str:
    return f"line {entry.line}" if entry.line else f"byte {entry.offset}"


def _node_lines(nodes: Iterator[Node], indent: str, *, secrets: bool) -> Iterator[str]:
    for node in nodes:
        name = field_name(node.tag) or "-"
        shown = _HIDDEN if is_secret(node.tag) and not secrets else _text(node.value)
        meaning = value_name(node.tag, node.value)
        words = f" ({meaning})" if meaning else ""
        yield f"{indent}{node.tag:>5} {name:<{_NAME_WIDTH}} = {shown}{words}"
        for number, member in enumerate(node.members or (), 1):
            lines = _node_lines(iter(member), "", secrets=secrets)
            mark = f"[{number}]"
            for line in lines:
                yield f"{indent}    {mark:<4}{line}"
                mark = ""


def entry_json(entry: FixEntry | Garbage, *, secrets: bool = False) -> dict[str, Any]:
    """Return the members of the JSON object that carries an entry."""
    place: dict[str, Any] = {"offset": entry.offset}
    if entry.line:
        place["line"] = entry.line
    if isinstance(entry, Garbage):
        head = entry.head.decode("latin-1")
        return {**place, "size": entry.size, "cause": entry.cause, "head": head}
    kind = entry.message.get(35, b"").decode("latin-1")
    if entry.prefix:
        place["prefix"] = entry.prefix
    nodes = tree(entry.message.fields)
    return {
        **place,
        "size": len(entry.message.raw),
        "type": kind,
        "name": message_name(kind),
        "fields": [_node_json(node, secrets=secrets) for node in nodes],
    }


def _node_json(node: Node, *, secrets: bool) -> dict[str, Any]:
    hidden = is_secret(node.tag) and not secrets
    found: dict[str, Any] = {
        "tag": node.tag,
        "name": field_name(node.tag),
        "value": _HIDDEN if hidden else _decoded(node.value),
    }
    meaning = value_name(node.tag, node.value)
    if meaning:
        found["meaning"] = meaning
    if node.members is not None:
        found["members"] = [
            [_node_json(field, secrets=secrets) for field in member]
            for member in node.members
        ]
    return found


def check(message: Message) -> str:
    """Return what the dictionary of the message's version finds wrong, "" if nothing.

    Under FIXT.1.1 the application version is that of the message (1128) or of its
    logon (1137), FIX 5.0 SP2 where neither is there.
    """
    begin = message[8].decode("latin-1")
    version = message.get(1128, message.get(1137, b"9")).decode("latin-1")
    try:
        words = dictionary(begin, version if begin == "FIXT.1.1" else "")
    except LookupError as exc:
        return str(exc.args[0])
    fault = words.validate(message)
    if fault is None:
        return ""
    if fault.tag is None:
        return fault.reason.text
    name = field_name(fault.tag)
    return f"{fault.reason.text}: {fault.tag}{f' ({name})' if name else ''}"


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _text(value: bytes) -> str:
    return printable(_decoded(value), one_line=True)
