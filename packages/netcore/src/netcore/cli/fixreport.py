"""Prints the entries of a FIX log, and counts them."""

from collections.abc import Iterable
from typing import final

from netcore.cli.exits import Exit
from netcore.cli.fixlog import FixEntry, Garbage
from netcore.cli.fixtext import check, entry_json, entry_lines, headline
from netcore.cli.fixwords import message_name
from netcore.cli.output import Output

__all__ = ["FixReport"]


@final
class FixReport:
    """What `netcore fix` prints.

    Args:
        output: Where to.
        types: Only messages of these types, by code or name; all if there are none.
        brief: Whether to leave the fields out.
        envelope: Whether to show the fields of header and trailer.
        check: Whether to hold messages against the dictionary of their version.
        secrets: Whether to show passwords and signatures.
    """

    def __init__(
        self,
        output: Output,
        *,
        types: Iterable[str] = (),
        brief: bool = False,
        envelope: bool = False,
        check: bool = False,
        secrets: bool = False,
    ) -> None:
        self._output = output
        self._types = frozenset(types)
        self._brief = brief
        self._envelope = envelope
        self._check = check
        self._secrets = secrets
        self._counts: dict[str, int] = {}
        self._garbled = 0
        self._invalid = 0

    def show(self, entry: FixEntry | Garbage) -> None:
        """Print one entry, unless other types are wanted."""
        fault = ""
        if isinstance(entry, Garbage):
            self._garbled += 1
        else:
            kind = entry.message.get(35, b"?").decode("latin-1")
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if self._check:
                fault = check(entry.message)
                self._invalid += bool(fault)
            if self._types and self._types.isdisjoint({kind, message_name(kind)}):
                return
        if self._output.json:
            self._show_json(entry, fault)
        else:
            self._show_text(entry, fault)

    def finish(self, skipped: int) -> Exit:
        """Print the totals; return FAILED if something is garbled or invalid.

        Args:
            skipped: Bytes of log text between the messages.
        """
        total = sum(self._counts.values())
        if self._output.json:
            self._output.event(
                "summary",
                messages=total,
                types=self._counts,
                garbled=self._garbled,
                invalid=self._invalid if self._check else None,
                skipped=skipped,
            )
        else:
            types = ", ".join(
                f"{count} {message_name(kind) or kind}"
                for kind, count in self._counts.items()
            )
            self._output.note(
                f"{total} messages{f' ({types})' if types else ''}, "
                f"{self._garbled} garbled"
                + (f", {self._invalid} invalid" if self._check else "")
                + (f", {skipped} bytes of other text" if skipped else "")
            )
        return Exit.FAILED if self._garbled or self._invalid else Exit.DONE

    def _show_json(self, entry: FixEntry | Garbage, fault: str) -> None:
        members = entry_json(entry, secrets=self._secrets)
        if fault:
            members["invalid"] = fault
        kind = "garbled" if isinstance(entry, Garbage) else "message"
        self._output.event(kind, **members)

    def _show_text(self, entry: FixEntry | Garbage, fault: str) -> None:
        if self._brief and isinstance(entry, FixEntry):
            self._output.line(f"byte {entry.offset}  {headline(entry.message)}")
        else:
            lines = entry_lines(entry, envelope=self._envelope, secrets=self._secrets)
            for line in lines:
                self._output.line(line)
        if fault:
            self._output.line(f"    INVALID {fault}")
