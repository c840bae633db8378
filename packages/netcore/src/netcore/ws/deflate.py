"""permessage-deflate: compressed messages, both roles (RFC 7692).

What may live here: the negotiation of the extension and the codec of one connection.
A frame's reserved bit and where a message starts and ends are the connection's.

Off unless asked for: market data venues gain little (the messages are short) and each
message costs some microseconds of zlib; a context per direction holds up to 300 KiB.
"""

import zlib
from typing import Final, final

import msgspec

from netcore.stream.base import Buffer
from netcore.ws.frames import Fault

__all__ = ["Deflate", "DeflateConfig", "accept_offer", "check_answer", "offer"]

_NAME: Final = "permessage-deflate"

# RFC 7692 §7.2.1: what a sender cuts off the end of each message, and a receiver adds.
_TAIL: Final = b"\x00\x00\xff\xff"

_MAX_WINDOW: Final = 15
_MIN_WINDOW: Final = 8
# zlib cannot make raw deflate with a window of 256 bytes (deflateInit2's manual);
# it can always read one.
_MIN_OWN_WINDOW: Final = 9

_TOO_BIG: Final = 1009
_INVALID_DATA: Final = 1007


@final
class DeflateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How we would like to compress.

    Attributes:
        send_window_bits: log2 of the most history we use when sending, 9 to 15.
        receive_window_bits: What we ask the peer to use, 8 to 15.
        send_context: Whether our messages may refer to earlier ones.
        receive_context: Whether the peer's may.
        fallback: Whether a client's offer names a second choice, to refer to no
            earlier messages: for servers that only take it so (§5.1: "in order of
            preference"). Others take the first.
        level: zlib's effort, 1 to 9.
        threshold: Messages below this many bytes are sent as they are: deflate makes
            most of them no shorter.
    """

    send_window_bits: int = _MAX_WINDOW
    receive_window_bits: int = _MAX_WINDOW
    send_context: bool = True
    receive_context: bool = True
    fallback: bool = False
    level: int = 6
    threshold: int = 64

    def __post_init__(self) -> None:
        if not _MIN_OWN_WINDOW <= self.send_window_bits <= _MAX_WINDOW:
            raise ValueError(
                f"send_window_bits must be in 9..15, was {self.send_window_bits}"
            )
        if not _MIN_WINDOW <= self.receive_window_bits <= _MAX_WINDOW:
            raise ValueError(
                f"receive_window_bits must be in 8..15, was {self.receive_window_bits}"
            )
        if not 1 <= self.level <= 9:
            raise ValueError(f"level must be in 1..9, was {self.level}")


# -- negotiation ---------------------------------------------------------------------


class _Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of one element of Sec-WebSocket-Extensions.

    A number of window bits is 0 for a parameter without a value, None if absent.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None


def offer(config: DeflateConfig) -> str:
    """Return the client's Sec-WebSocket-Extensions (§7.1)."""
    choices = [_offer(config, send_context=config.send_context)]
    if config.fallback and config.send_context:
        choices.append(_offer(config, send_context=False))
    return ", ".join(choices)


def _offer(config: DeflateConfig, *, send_context: bool) -> str:
    terms = [_NAME]
    if not config.receive_context:
        terms.append("server_no_context_takeover")
    if not send_context:
        terms.append("client_no_context_takeover")
    if config.receive_window_bits < _MAX_WINDOW:
        terms.append(f"server_max_window_bits={config.receive_window_bits}")
    # Says that we understand the parameter, so that the server may lower the number.
    if config.send_window_bits < _MAX_WINDOW:
        terms.append(f"client_max_window_bits={config.send_window_bits}")
    else:
        terms.append("client_max_window_bits")
    return "; ".join(terms)


def check_answer(extensions: str, config: DeflateConfig) -> "Deflate | None":
    """Return the codec of a client whose `offer` was answered with `extensions`.

    None if the server declined.

    Raises:
        ValueError: If the answer is not one to our offer (§7.1).
    """
    if not extensions:
        return None
    elements = extensions.split(",")
    terms = _parse(elements[0]) if len(elements) == 1 else None
    if terms is None:
        raise ValueError(f"extensions {extensions!r} answer no offer of ours")
    receive_bits = terms.server_max_window_bits
    send_bits = terms.client_max_window_bits
    if 0 in (receive_bits, send_bits):
        raise ValueError(f"extensions {extensions!r} lack a number of window bits")
    if (receive_bits or _MAX_WINDOW) > config.receive_window_bits:
        raise ValueError(f"extensions {extensions!r} pass over server_max_window_bits")
    if not config.receive_context and not terms.server_no_context_takeover:
        raise ValueError(f"extensions {extensions!r} pass over the context takeover")
    send_bits = min(send_bits or _MAX_WINDOW, config.send_window_bits)
    if send_bits < _MIN_OWN_WINDOW:
        # We may always use less history than allowed: none of it at all.
        return Deflate(
            config,
            send_bits=0,
            receive_bits=receive_bits or _MAX_WINDOW,
            send_context=False,
            receive_context=not terms.server_no_context_takeover,
        )
    return Deflate(
        config,
        send_bits=send_bits,
        receive_bits=receive_bits or _MAX_WINDOW,
        send_context=config.send_context and not terms.client_no_context_takeover,
        receive_context=not terms.server_no_context_takeover,
    )


def accept_offer(
    extensions: str, config: DeflateConfig
) -> tuple[str, "Deflate"] | None:
    """Return a server's answer to `extensions` and its codec.

    Takes the first offer that can be met (§7.1); None declines them all.
    """
    for element in extensions.split(","):
        terms = _parse(element)
        if terms is not None and _acceptable(terms):
            return _accept(terms, config)
    return None


def _acceptable(terms: _Terms) -> bool:
    # An offer of server_max_window_bits has a number (§7.1.2.1); 8 is one that zlib
    # cannot keep.
    bits = terms.server_max_window_bits
    return bits is None or bits >= _MIN_OWN_WINDOW


def _accept(terms: _Terms, config: DeflateConfig) -> tuple[str, "Deflate"]:
    send_bits = min(
        terms.server_max_window_bits or _MAX_WINDOW, config.send_window_bits
    )
    send_context = config.send_context and not terms.server_no_context_takeover
    receive_context = config.receive_context and not terms.client_no_context_takeover
    receive_bits = _MAX_WINDOW
    answer = [_NAME]
    if not send_context:
        answer.append("server_no_context_takeover")
    if not receive_context:
        answer.append("client_no_context_takeover")
    # §7.1.2.1: an offer that names it is accepted by naming it, also where it is the
    # largest there is.
    if terms.server_max_window_bits is not None or send_bits < _MAX_WINDOW:
        answer.append(f"server_max_window_bits={send_bits}")
    if terms.client_max_window_bits is not None:
        # §7.1.2.2: only a client that named it can be told a number.
        asked = terms.client_max_window_bits or _MAX_WINDOW
        receive_bits = min(asked, config.receive_window_bits)
        if receive_bits < _MAX_WINDOW:
            answer.append(f"client_max_window_bits={receive_bits}")
    codec = Deflate(
        config,
        send_bits=send_bits,
        receive_bits=receive_bits,
        send_context=send_context,
        receive_context=receive_context,
    )
    return "; ".join(answer), codec


def _parse(element: str) -> _Terms | None:
    """Return an element's parameters, None if it is not one of this extension."""
    name, *parameters = (part.strip() for part in element.split(";"))
    if name.lower() != _NAME:
        return None
    values: dict[str, bool | int] = {}
    for parameter in parameters:
        key, equals, text = (part.strip() for part in parameter.partition("="))
        value = _parse_parameter(key, text.strip('"') if equals else None)
        if value is None or key in values:
            return None
        values[key] = value
    return msgspec.convert(values, _Terms)


def _parse_parameter(key: str, text: str | None) -> bool | int | None:
    """Return a parameter's value, None if §7.1 does not allow it."""
    if key in {"server_no_context_takeover", "client_no_context_takeover"}:
        return True if text is None else None
    if key == "client_max_window_bits" and text is None:
        return 0
    if key in {"server_max_window_bits", "client_max_window_bits"} and text:
        # "without leading zeroes" (§7.1.2)
        allowed = [str(bits) for bits in range(_MIN_WINDOW, _MAX_WINDOW + 1)]
        return int(text) if text in allowed else None
    return None


# -- codec ---------------------------------------------------------------------------


@final
class Deflate:
    """Compresses and expands the messages of one connection.

    Made by `check_answer` or `accept_offer`.

    Args:
        config: Level and threshold.
        send_bits: log2 of our window, 0 to send nothing compressed.
        receive_bits: log2 of the peer's window.
        send_context: Whether our window outlives a message.
        receive_context: Whether the peer's does.
    """

    __slots__ = (
        "_compressor",
        "_expander",
        "_level",
        "_receive_bits",
        "_receive_context",
        "_send_bits",
        "_send_context",
        "_taking",
        "_threshold",
    )

    def __init__(
        self,
        config: DeflateConfig,
        *,
        send_bits: int = _MAX_WINDOW,
        receive_bits: int = _MAX_WINDOW,
        send_context: bool = True,
        receive_context: bool = True,
    ) -> None:
        self._threshold = config.threshold
        self._taking = False
        self._level = config.level
        self._send_bits = send_bits
        self._receive_bits = receive_bits
        self._send_context = send_context
        self._receive_context = receive_context
        self._compressor: zlib._Compress | None = None
        self._expander: zlib._Decompress | None = None

    def __repr__(self) -> str:
        return (
            f"Deflate(send_bits={self._send_bits}, receive_bits={self._receive_bits}, "
            f"send_context={self._send_context}, "
            f"receive_context={self._receive_context})"
        )

    def takes(self, payload: Buffer, *, first: bool) -> bool:
        """Return whether the next piece of our message is to be compressed.

        The first piece decides for its whole message (§6: all or none of it).

        Args:
            payload: The piece.
            first: Whether it starts a message.
        """
        if first:
            self._taking = self._send_bits > 0 and len(payload) >= self._threshold
        return self._taking

    def compress(self, payload: bytes, *, fin: bool) -> bytes:
        """Return the next piece of our message, compressed (§7.2.1).

        Args:
            payload: The next piece.
            fin: Whether the message ends with it.
        """
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(self._level, zlib.DEFLATED, -self._send_bits)
            self._compressor = compressor
        data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if not fin:
            return data
        if not self._send_context:
            self._compressor = None
        return data.removesuffix(_TAIL)

    def expand(self, payload: bytes, limit: int, *, fin: bool) -> bytes | Fault:
        """Return the next piece of the peer's message, or what is wrong (§7.2.2).

        Args:
            payload: The next frame's payload.
            limit: The most bytes to return; a longer piece is a fault 1009, found
                before more than that is expanded.
            fin: Whether the message ends with it.
        """
        data = payload + _TAIL if fin else payload
        try:
            expanded = self._expand(data, limit, fin=fin)
        except zlib.error as exc:
            return Fault(_INVALID_DATA, f"a message that is not deflate data: {exc}")
        if expanded is None:
            return Fault(_TOO_BIG, f"a message that expands to more than {limit} bytes")
        if fin and not self._receive_context:
            self._expander = None
        return expanded

    def _expand(self, data: bytes, limit: int, *, fin: bool) -> bytes | None:
        """Return what `data` expands to, None if that is above `limit`."""
        pieces = []
        while data:
            if self._expander is None:
                self._expander = zlib.decompressobj(-self._receive_bits)
            expander = self._expander
            # One byte above the limit tells too much from just enough; zlib would take
            # a 0 for "no limit".
            piece = expander.decompress(data, limit + 1)
            limit -= len(piece)
            if limit < 0:
                return None
            pieces.append(piece)
            if not expander.eof:
                break
            # A block with BFINAL set ended the stream (§7.2.3.4 allows it). What
            # follows is a new one, and mostly just the filling of this message's end.
            self._expander = None
            data = expander.unused_data
            if fin and data in (b"\x00" + _TAIL, _TAIL):
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
