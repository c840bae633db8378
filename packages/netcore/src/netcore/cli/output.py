"""What the commands print: results on standard output, everything else beside it.

What may live here: making bytes of strangers printable, and writing lines. A message
is data of the peer: printed as it is, it could move the cursor or rewrite what stands
on the terminal, so control characters are escaped wherever a person reads.
"""

import base64
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO, final

import msgspec

__all__ = [
    "Output",
    "json_line",
    "json_payload",
    "octets",
    "preview",
    "printable",
    "size_text",
]

# C0 but tab and newline, DEL, C1 (ECMA-48), and the characters that change the
# direction of what follows (Unicode Annex 9).
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_LINE_END: Final = re.compile("[\t\n\r\u2028\u2029\x85]")
_KILO: Final = 1024


def printable(text: str, *, one_line: bool = False) -> str:
    r"""Return `text` with control characters as escapes such as ``\x1b``.

    Args:
        text: Anything.
        one_line: Whether to escape tabs and line ends, too.
    """
    if one_line:
        text = _LINE_END.sub(_escape, text)
    return _CONTROL.sub(_escape, text)


def octets(data: bytes) -> str:
    r"""Return bytes as ASCII where that is printable, ``\xNN`` elsewhere."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}"
        for byte in data
    )


def preview(data: bytes, width: int = 60, *, more: bool = False) -> str:
    """Return the beginning of a payload in one line.

    Args:
        data: The payload or its beginning.
        width: Characters to return at most, the three dots of a cut one besides.
        more: Whether `data` is only the beginning.
    """
    try:
        text = printable(data.decode(), one_line=True)
    except UnicodeDecodeError as exc:
        # A character that the cut went through is no reason to call text binary.
        if more and exc.end == len(data) and len(data) - exc.start < 4:
            text = printable(data[: exc.start].decode(), one_line=True)
        else:
            text = octets(data)
    cut = len(text) > width
    return text[:width] + ("..." if cut or more else "")


def json_payload(data: bytes) -> dict[str, str]:
    """Return the JSON member that carries a payload: `text`, or `base64`."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def json_line(kind: str, /, **members: Any) -> str:  # noqa: ANN401  JSON's values
    """Return a JSON object with its kind as `event`."""
    return msgspec.json.encode({"event": kind, **members}).decode()


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    if size < _KILO:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= _KILO
        if value < _KILO or unit == "GiB":
            return f"{value:.1f} {unit}"
    raise AssertionError("GiB is the last unit")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@final
class Output:
    """The two channels of a command.

    Args:
        json: Whether results are JSON lines for programs, not text for people.
        quiet: Whether to say nothing beside the results and errors.
        out: Where results go.
        err: Where everything else goes.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.json = json
        self._quiet = quiet
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err

    @property
    def terminal(self) -> bool:
        """Whether a person sees the results as they come."""
        return self._out.isatty()

    def line(self, text: str) -> None:
        """Print one result for people."""
        self.lines([text])

    def lines(self, texts: Iterable[str]) -> None:
        """Print several results in one write."""
        self._out.write("".join([f"{text}\n" for text in texts]))
        self._out.flush()

    def event(self, kind: str, /, **members: Any) -> None:  # noqa: ANN401  JSON's values
        """Print one result for programs: an object with its kind as `event`."""
        self.line(json_line(kind, **members))

    def note(self, text: str) -> None:
        """Say beside the results how things go."""
        if not self._quiet:
            self._err.write(f"netcore: {text}\n")
            self._err.flush()

    def progress(self, text: str, *, last: bool = False) -> None:
        """Show a line beside the results that the next one replaces."""
        if not self._quiet:
            self._err.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
            self._err.flush()

    @property
    def watched(self) -> bool:
        """Whether a person sees what stands beside the results."""
        return not self._quiet and self._err.isatty()
