"""What FIX's numbers mean: names of fields, messages and values, and groups.

Pure look-ups over `netcore.cli.fixnames` and `netcore.cli.fixvalues`.
"""

import functools
from collections.abc import Mapping

from netcore.cli import fixnames, fixvalues

__all__ = ["field_name", "group_members", "is_secret", "message_name", "value_name"]

# Signature, RawData, Password, NewPassword, EncryptedPassword, EncryptedNewPassword.
_SECRET = frozenset({89, 96, 554, 925, 1402, 1404})


def field_name(tag: int) -> str:
    """Return a field's name, "" if the standard has none for that tag."""
    return _names().get(tag, "")


def message_name(kind: str) -> str:
    """Return a message type's name, "" if the standard has none for that code."""
    return _messages().get(kind, "")


def value_name(tag: int, value: bytes) -> str:
    """Return the name of a field's value, "" if it has none that we know.

    A value that is a list (ExecInst) gives the names parted by commas, if all have
    one.
    """
    if tag == 35:
        return message_name(value.decode("latin-1"))
    known = _values().get(tag)
    if known is None:
        return ""
    found = [known.get(part, "") for part in value.decode("latin-1").split(" ")]
    return ", ".join(found) if all(found) else ""


def group_members(count: int) -> frozenset[int] | None:
    """Return the tags in a member of the group with that count field, None for none."""
    return _groups().get(count)


def is_secret(tag: int) -> bool:
    """Whether a field's value must not be seen in logs."""
    return tag in _SECRET


@functools.cache
def _names() -> Mapping[int, str]:
    names: dict[int, str] = {}
    tag = 0
    for word in fixnames.NAMES.split():
        if word.isdigit():
            tag = int(word) - 1
        else:
            tag += 1
            names[tag] = word
    return names


@functools.cache
def _messages() -> Mapping[str, str]:
    words = fixnames.MESSAGES.split()
    return dict(zip(words[::2], words[1::2], strict=True))


@functools.cache
def _groups() -> Mapping[int, frozenset[int]]:
    return {count: _tags(text) for count, text in fixvalues.GROUPS.items()}


def _tags(text: str) -> frozenset[int]:
    tags: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        tags.update(range(int(first), int(last or first) + 1))
    return frozenset(tags)


@functools.cache
def _values() -> Mapping[int, Mapping[str, str]]:
    values = {}
    for tag, text in fixvalues.VALUES.items():
        values[tag] = dict(word.split("=", 1) for word in text.split())
    return values
