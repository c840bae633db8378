"""FIX: the reader, every way to look at a field, and sessions of all versions."""

import contextlib
import functools
from typing import TYPE_CHECKING

from fuzz_targets.common import Target, cut_up, require
from netcore import fix
from netcore.fix import (
    Dictionary,
    FixLocalError,
    FixParser,
    FixRemoteError,
    FixSession,
    Message,
    Resync,
    SessionConfig,
    dictionary,
    encode,
    utc_timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TARGETS"]

_FIX_LIMIT = 4096


def fix_parser(data: bytes) -> None:
    """The FIX reader, and every way to look at a field of what it read."""
    if len(data) < 2:
        return
    options, cut, data = data[0], data[1], data[2:]
    resync = Resync.CLAIMED_END if options & 1 else Resync.NEXT_BEGIN

    def parse(pieces: list[bytes]) -> list[bytes]:
        parser = FixParser(max_message_size=_FIX_LIMIT, resync=resync)
        got: list[bytes] = []
        for piece in pieces:
            for message in parser.feed(piece):
                _look_at(message)
                got.append(message.raw)
            require(
                parser.pending_bytes <= _FIX_LIMIT + len(piece),
                f"holds {parser.pending_bytes} bytes",
            )
        require(parser.delivered == len(got), "counts wrong")
        return got

    require(
        parse([data]) == parse(cut_up(data, cut)),
        "messages depend on how they are cut",
    )


def _look_at(message: Message) -> None:
    readers: list[Callable[[int], object]] = [
        message.text, message.integer, message.decimal, message.timestamp,
        message.flag, message.all,
    ]  # fmt: skip
    _ = str(message), message.body, message.type
    for tag in {tag for tag, _ in message}:
        for read in readers:
            with contextlib.suppress(FixLocalError, FixRemoteError):
                read(tag)
        try:
            groups: list[fix.Fields] = message.groups(tag, tag + 1)
        except FixRemoteError:
            continue
        require(len(groups) <= len(message), "makes groups of nothing")
    for known in _dictionaries():
        known.validate(message)


@functools.cache
def _dictionaries() -> tuple[Dictionary, ...]:
    return dictionary("FIX.4.4"), dictionary("FIXT.1.1", "9", user_defined=False)


_START = 1_723_118_400_000_000_000  # 2024-08-08T12:00:00Z
_VERSIONS = ("FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1")


def fix_session(data: bytes) -> None:
    """A FIX session: lines become messages, what it says is always right.

    A line `A|98=0|108=30` is framed with the header and number that are due, one that
    begins with `=` is framed as it stands, `@` lets time pass to the next deadline,
    `!` sends raw bytes.
    """
    if len(data) < 2:
        return
    options, data = data[0], data[2:]
    role = fix.Role.INITIATOR if options & 1 else fix.Role.ACCEPTOR
    begin = _VERSIONS[(options >> 1) % len(_VERSIONS)]
    talk = _Talk(role, begin, checked=bool(options & 16), lenient=data[:1] == b"#")
    for number, line in enumerate(data.split(b"\n")[:16], 1):
        talk.play(line, number)
        if talk.session.closed:
            break
    talk.hear()


class _Talk:
    """A session under test and what stands on its other side."""

    def __init__(
        self, role: fix.Role, begin: str, *, checked: bool, lenient: bool
    ) -> None:
        version = "9" if begin == "FIXT.1.1" else ""
        self.begin = begin.encode()
        self.now = _START
        known = dictionary(begin, version, user_defined=False)
        self.known = known
        self.session = FixSession(
            SessionConfig(
                begin_string=begin,
                sender_comp_id="ISLD",
                target_comp_id="TW",
                role=role,
                default_appl_ver_id=version,
                max_message_size=_FIX_LIMIT,
                max_held=8,
                reset_on_logon=lenient,
            ),
            dictionary=known if checked else None,
        )
        self.parser = FixParser()
        self.session.connect(self.now)

    def play(self, line: bytes, number: int) -> None:
        if line.startswith(b"@"):
            deadline = self.session.next_deadline
            self.now = max(self.now, deadline or self.now)
            self.session.tick(self.now)
        elif line.startswith(b"!"):
            self.session.feed(line[1:], self.now)
        else:
            self.session.feed(self._framed(line, number), self.now)
        self.hear()

    def _framed(self, line: bytes, number: int) -> bytes:
        fields = line.replace(b"|", b"\x01") + b"\x01"
        if line.startswith(b"="):
            body = b"35" + fields
        else:
            kind, _, rest = fields.partition(b"\x01")
            time = utc_timestamp(self.now, 0)
            body = b"35=%b\x0134=%d\x0149=TW\x0152=%b\x0156=ISLD\x01%b" % (
                kind, number, time, rest,
            )  # fmt: skip
        head = b"8=%b\x019=%d\x01%b" % (self.begin, len(body), body)
        return head + b"10=%03d\x01" % (sum(head) % 256)

    def hear(self) -> None:
        """Check all that the session says against its version's dictionary."""
        while data := self.session.to_send():
            messages = self.parser.feed(data)
            require(not self.parser.take_garbled(), "says something garbled")
            require(not self.parser.pending_bytes, "says half a message")
            for message in messages:
                fault = self.known.validate(message)
                require(fault is None, f"says {message} which is {fault}")


def _fix_seeds() -> list[bytes]:
    header = [(34, 1), (49, "TW"), (52, "20240808-12:00:00.000"), (56, "ISLD")]
    order = encode(
        [(8, "FIX.4.4"), (35, "D"), *header, (11, "id"), (55, "X"), (54, "1")]
    )
    data = encode([(8, "FIX.4.4"), (35, "A"), *header, (95, 3), (96, b"\x01=\x01")])
    levels = [(268, 2), (269, "0"), (270, "1.5"), (269, "1"), (270, "1.6")]
    book = encode([(8, "FIX.4.4"), (35, "W"), *header, (55, "X"), *levels])
    damaged = order[:-2] + b"9\x01"
    return [
        b"\x00\x00" + order,
        b"\x01\x31" + order + data + book,
        b"\x01\x00" + damaged + order,
        b"\x00\x73noise" + damaged + b"8=FIX" + book,
        b"\x00\x00" + order.replace(b"9=", b"9=0"),
    ]


_FIX_WORDS = (
    b"\x01", b"=", b"8=FIX.4.4\x019=", b"8=FIX", b"35=", b"10=000\x01", b"\x0110=",
    b"34=2", b"95=1\x0196=\x01", b"268=", b"9" * 19, b"1" * 4400, b"-", b"\xff",
)  # fmt: skip


def _session_seeds() -> list[bytes]:
    lines = [
        b"A|98=0|108=30",
        b"0",
        b"1|112=hello",
        b"D|11=id|55=X|54=1|38=5|40=1|60=20240808-12:00:00|21=1",
        b"2|7=1|16=0",
        b"4|123=Y|36=9",
        b"=3|34=9|49=TW|52=20240808-12:00:00|56=ISLD|45=1|58=no",
        b"@",
        b"=4|34=1|49=TW|52=20240808-12:00:00|56=ISLD|36=20",
        b"=0|34=2|43=Y|49=TW|52=20240808-12:00:00|56=ISLD|122=20240808-11:00:00",
        b"A|98=0|108=30|141=Y",
        b"5|58=bye",
    ]
    seeds = []
    for options in range(12):
        version = (options >> 1) % len(_VERSIONS)
        logon = lines[0] + (b"|1137=9" if version == 5 else b"")
        for checked in (0, 16):
            head = bytes((options | checked, 0))
            seeds.append(head + b"\n".join([logon, *lines[1:]]))
            seeds += [head + logon + b"\n" + line for line in lines[1:]]
    return seeds


_SESSION_WORDS = (
    b"\n",
    b"|",
    b"\n@\n",
    b"\n@\n@\n@\n",
    b"\nA|98=0|108=30|141=Y",
    b"|43=Y",
    b"|34=",
    b"|108=--5",
    b"|108=" + b"9" * 400,
    b"|108=" + b"9" * 4400,
    b"|789=",
    b"|36=",
    b"=|",
    b"|123=Y",
    b"|97=Y",
    b"|50=a|57=b",
    b"\n2|7=1|16=0",
    b"\n1|112=",
    b"|16=999999",
    b"|268=" + b"1" * 4400,
    b"|627=1|628=x",
    b"-",
    b"|212=1|213=",
    b"\n5",
    b"#",
)

TARGETS = {
    "fix_parser": Target(fix_parser, _fix_seeds, _FIX_WORDS),
    "fix_session": Target(fix_session, _session_seeds, _SESSION_WORDS),
}
