"""One WebSocket conversation, both roles, as bytes in and bytes out (RFC 6455).

What may live here: the rules of a conversation. No socket, no clock (a timestamp is
handed in), no waiting. `netcore.ws.websocket` puts a stream under it.

**Theory.** Two things move independently: what the peer sends, and how far the
conversation is::

    CONNECTING ──upgraded──▶ OPEN ──we close──▶ CLOSING ──peer closes──▶ CLOSED
        │                     ├──peer closes (echoed at once)──────────────▲
        └──refused / end──────┴──fault / end───────────────────────────────┘

`_MOVES` is that picture as a table. What the peer sends is made into messages by the
`MessageReader`; its control frames and its faults are obeyed here.

**Nothing the peer sends raises.** A fault becomes a close frame in `outgoing`, state
CLOSED and what `end` returns; so no byte of the peer can leave the object half-way.
What *we* do wrong raises at once.

**Messages, then the end.** A fault or close frame behind messages of the same feed
takes effect with the next one: the user gets the messages while the conversation is
still OPEN, and can answer them.
"""

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Final, final

from netcore.errors import (
    ConnectionClosed,
    ConnectionLost,
    HandshakeError,
    NetError,
    ProtocolError,
    TlsError,
)
from netcore.models import Timestamp
from netcore.stream.base import Buffer
from netcore.ws.batch import Batch, mixed_batch
from netcore.ws.closing import CloseCode, decode_close, encode_close
from netcore.ws.deflate import Deflate, DeflateConfig, accept_offer, check_answer
from netcore.ws.frames import (
    MAX_CONTROL,
    Fault,
    Mark,
    Masking,
    Opcode,
    Role,
    encode_frame,
)
from netcore.ws.handshake import Agreement, ClientHandshake, Request, ServerHandshake
from netcore.ws.masking import keys
from netcore.ws.messages import MessageReader
from netcore.ws.reader import DEFAULT_MAX_FRAME

__all__ = ["State", "WsConnection"]


class State(Enum):
    """How far a conversation is."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


# On CPython 3.11 a member costs 60 ns more by its class's name than by its own.
_CONNECTING, _OPEN, _CLOSED = State.CONNECTING, State.OPEN, State.CLOSED


class _Event(Enum):
    UPGRADED = "the handshake succeeded"
    CLOSE_SENT = "we asked to close"
    CLOSE_RECEIVED = "the peer closed"
    ENDED = "a fault or the end of the stream"


class _Ending(Enum):
    """Who brought the conversation to its end."""

    NONE = "it goes on"
    WE_ASKED = "we sent the first close frame"
    PEER_ASKED = "the peer sent the first close frame"
    WE_GAVE_UP = "we do not wait for the peer's agreement"
    BROKEN = "nobody announced it"


_INITIATED_BY: Final = {
    _Ending.NONE: "",
    _Ending.WE_ASKED: "local",
    _Ending.PEER_ASKED: "remote",
    _Ending.WE_GAVE_UP: "local",
    _Ending.BROKEN: "",
}

_MOVES: Final = {
    (State.CONNECTING, _Event.UPGRADED): State.OPEN,
    (State.CONNECTING, _Event.CLOSE_SENT): State.CLOSED,
    (State.CONNECTING, _Event.ENDED): State.CLOSED,
    (State.OPEN, _Event.CLOSE_SENT): State.CLOSING,
    (State.OPEN, _Event.CLOSE_RECEIVED): State.CLOSED,
    (State.OPEN, _Event.ENDED): State.CLOSED,
    (State.CLOSING, _Event.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSING, _Event.ENDED): State.CLOSED,
}


@final
class WsConnection:
    """The rules of one conversation; the module tells the theory.

    Args:
        role: Which end we are.
        handshake: Our half of the handshake; None for an upgraded connection.
        masking: How a client masks; a server never does.
        validate_utf8: Whether text messages are checked. Feeds whose decoder checks
            strings itself (msgspec does) can go without.
        max_message_size: The most bytes of a message, expanded; more is a fault 1009.
        frames: Whether to deliver data frames as they come, not whole messages.
        deflate: How to compress, if the peer agrees. A client's `handshake` has to
            carry the `offer` of the same configuration.

    Attributes:
        pongs: Payloads of the pongs in the latest `feed`.
        agreement: What the handshake settled, None before and without one.
    """

    __slots__ = (
        "_close_code",
        "_close_reason",
        "_config",
        "_deflate",
        "_draw",
        "_early",
        "_ending",
        "_error",
        "_handshake",
        "_held",
        "_held_ns",
        "_make_reader",
        "_owed",
        "_reader",
        "_replies",
        "_role",
        "_sending",
        "_state",
        "_verdict",
        "agreement",
        "pongs",
    )

    def __init__(
        self,
        role: Role,
        *,
        handshake: ClientHandshake | ServerHandshake | None = None,
        masking: Masking = Masking.RANDOM,
        validate_utf8: bool = True,
        max_message_size: int = DEFAULT_MAX_FRAME,
        frames: bool = False,
        deflate: DeflateConfig | None = None,
    ) -> None:
        if max_message_size < 1:
            raise ValueError(f"max_message_size must be >= 1, was {max_message_size}")
        self._role = role
        self._handshake = handshake
        self._draw: Callable[[], int] | None = None
        if role is Role.CLIENT:
            self._draw = keys.draw if masking is Masking.RANDOM else _zero_key
        self._make_reader = partial(
            MessageReader,
            role,
            validate_utf8=validate_utf8,
            max_message_size=max_message_size,
            frames=frames,
        )
        self._reader = self._make_reader(deflate=None)
        self._config = deflate
        self._deflate: Deflate | None = None
        self._state = State.OPEN if handshake is None else State.CONNECTING
        self._replies: list[bytes] = []
        self._owed: deque[bytes] = deque(maxlen=_MOST_PONGS)
        self._early: list[tuple[Opcode, bytes, bool]] = []
        self._held = b""
        self._held_ns: Timestamp = 0
        self._sending: Opcode | None = None
        self._verdict: Mark | Fault | None = None
        self._error: NetError | None = None
        self._close_code: int | None = None
        self._close_reason = ""
        self._ending = _Ending.NONE
        self.pongs: list[bytes] = []
        self.agreement: Agreement | None = None
        if isinstance(handshake, ClientHandshake):
            self._replies.append(handshake.request())

    def __repr__(self) -> str:
        return f"<WsConnection {self._role.value} {self._state.value}>"

    # -- what it is like now ---------------------------------------------------------

    @property
    def role(self) -> Role:
        """Which end we are."""
        return self._role

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._state

    @property
    def close_code(self) -> int | None:
        """Why it is CLOSED: the peer's code, ours after its fault, 1006 if it broke.

        None before that.
        """
        return self._close_code

    @property
    def close_reason(self) -> str:
        """The words beside `close_code`."""
        return self._close_reason

    @property
    def request(self) -> Request | None:
        """The client's request, for a server; None until it is complete."""
        handshake = self._handshake
        return handshake.request if isinstance(handshake, ServerHandshake) else None

    @property
    def compressing(self) -> bool:
        """Whether permessage-deflate was agreed on."""
        return self._deflate is not None

    @property
    def lingers(self) -> bool:
        """Whether the peer may still be sending: we gave up, and it has not ended."""
        return self._ending is _Ending.WE_GAVE_UP

    @property
    def held(self) -> bool:
        """Whether the next `feed`, maybe of nothing, has something to do.

        Bytes came behind the handshake, or the end behind the latest batch.
        """
        if self._verdict is not None:
            return True
        return bool(self._held) and self._state is not State.CONNECTING

    @property
    def mid_message(self) -> bool:
        """Whether we have begun a message with `fin=False` and not ended it."""
        return self._sending is not None

    @property
    def early_bytes(self) -> int:
        """Bytes of the messages that wait for the end of the handshake."""
        return sum(len(payload) for _, payload, _ in self._early)

    def end(self) -> NetError:
        """Return what a CLOSED conversation raises: the cause once, then its codes."""
        error, self._error = self._error, None
        if error is not None:
            return error
        code = CloseCode.ABNORMAL if self._close_code is None else self._close_code
        return ConnectionClosed(code, self._close_reason, _INITIATED_BY[self._ending])

    # -- receiving -------------------------------------------------------------------

    def outgoing(self) -> bytes:
        """Return what has to be sent now, besides what the sending methods return.

        The handshake, pongs, and the close frame that answers the peer's or a fault.
        Call it after each `feed` and after creating the object.
        """
        if not self.replying:
            return b""
        data = b"".join([*self._replies, *self._owed])
        self._replies.clear()
        self._owed.clear()
        return data

    @property
    def replying(self) -> bool:
        """Whether `outgoing` would return anything."""
        return bool(self._replies or self._owed)

    def feed(self, data: bytes, timestamp_ns: Timestamp = 0) -> Batch | None:
        """Take what the stream brought; return the messages it completed, if any.

        What came behind the handshake in one piece is `held` for the next call.
        After a fault or close in `data` the state is CLOSED or, if messages came before
        it, will be with the next call (`held` tells). While CLOSING, messages are
        dropped.

        Args:
            data: Any number of bytes; none after `held`.
            timestamp_ns: When they were received.
        """
        if self.pongs:
            self.pongs = []
        if self._state is _CONNECTING:
            self._shake(data, timestamp_ns)
            return None
        if self._verdict is not None:
            self._conclude()
        if self._held:
            data, self._held = self._held + data, b""
            timestamp_ns = self._held_ns
        if not data or self._state is _CLOSED:
            return None
        reader = self._reader
        payloads = reader.feed(data)
        # While CLOSING the user has turned away; only the peer's close frame counts.
        wanted = bool(payloads) and self._state is _OPEN
        if reader.controls or reader.fault is not None:
            self._obey(reader.controls, reader.fault)
            if not wanted:
                self._conclude()
        if not wanted:
            return None
        heads = reader.heads
        if heads is None:
            return Batch(timestamp_ns, payloads, reader.opcode)
        return mixed_batch(timestamp_ns, payloads, heads)

    def feed_eof(self) -> None:
        """Take the end of the stream."""
        self._conclude()
        if self._state is State.CONNECTING:
            self._break(self._handshake_ended())
        elif self._state is not State.CLOSED:
            self._break(None)

    def lose(self, cause: NetError) -> None:
        """Take the loss of the stream: an end that `cause` explains.

        A broken connection is a `ConnectionClosed` with code 1006 (§7.1.5) because of
        `cause`; before the upgrade, or if it is no fault of the connection (a recorder
        whose disk is full), it is `cause` itself.
        """
        self._conclude()
        if self._state is State.CONNECTING or not isinstance(
            cause, ConnectionLost | TlsError
        ):
            if self._state is not State.CLOSED:
                self._break(cause)
        elif self._state is not State.CLOSED:
            self._break(None)
            error = self.end()
            error.__cause__ = cause
            self._error = error

    def give_up(self, code: int, text: str) -> None:
        """Fail the connection for a reason of ours, such as a silent peer.

        The peer is told `code`; ours is a `ConnectionClosed` with it.
        """
        if self._state is not State.CLOSED:
            self._fail(Fault(code, text))
            self._error = None

    def _obey(self, controls: Iterable[Mark], fault: Fault | None) -> None:
        """Act on pings and pongs; keep what ends the conversation for `_conclude`."""
        self._verdict = fault
        for mark in controls:
            match mark.opcode:
                case Opcode.PING:
                    self._owed.append(self._encode(Opcode.PONG, mark.payload))
                case Opcode.PONG:
                    self.pongs.append(mark.payload)
                case _:
                    self._verdict = mark

    def _conclude(self) -> None:
        """End the conversation if the peer closed it or broke the rules."""
        verdict, self._verdict = self._verdict, None
        if isinstance(verdict, Mark):
            self._closed(verdict.payload)
        elif verdict is not None:
            self._fail(verdict)

    # -- ending ----------------------------------------------------------------------

    def _move(self, event: _Event) -> None:
        self._state = _MOVES[self._state, event]

    def _closed(self, body: bytes) -> None:
        """Act on the peer's close frame (§5.5.1)."""
        closing = decode_close(body)
        if isinstance(closing, Fault):
            self._fail(closing)
            return
        if self._state is State.OPEN:
            # "When sending a Close frame in response, the endpoint typically echos
            # the status code it received."
            self._reply_last(self._encode(Opcode.CLOSE, body[:2]))
            self._ending = _Ending.PEER_ASKED
        self._move(_Event.CLOSE_RECEIVED)
        self._close_code, self._close_reason = closing
        self._release()

    def _fail(self, fault: Fault) -> None:
        """Fail the connection (§7.1.7) for what the peer did."""
        if self._state is State.OPEN:
            reason = fault.text.encode()[:_MAX_REASON].decode(errors="ignore")
            body = encode_close(fault.code, reason)
            self._reply_last(self._encode(Opcode.CLOSE, body))
        self._move(_Event.ENDED)
        self._ending = _Ending.WE_GAVE_UP
        self._close_code, self._close_reason = fault
        self._error = ProtocolError(fault.code, fault.text)
        self._release()

    def _reply_last(self, frame: bytes) -> None:
        """Queue a close frame, behind the pongs that are owed."""
        self._replies += [*self._owed, frame]
        self._owed.clear()

    def _break(self, error: NetError | None) -> None:
        """End without a close frame from the peer (§7.1.5: code 1006)."""
        self._move(_Event.ENDED)
        if self._ending is _Ending.NONE:
            self._ending = _Ending.BROKEN
        self._close_code = CloseCode.ABNORMAL
        self._close_reason = "the connection ended without a close frame"
        self._error = error
        self._release()

    def _release(self) -> None:
        """Let go of what only an open conversation needs."""
        self._deflate = None
        self._early.clear()
        self._held = b""
        self._verdict = None

    # -- sending ---------------------------------------------------------------------

    def send(self, opcode: Opcode, payload: Buffer, *, fin: bool = True) -> bytes:
        """Return the bytes that carry a data message, or the next piece of one.

        A message begun with `fin=False` is continued by the next `send` of the same
        opcode. While CONNECTING the message is kept and leaves with the handshake's
        end; the bytes returned are none.

        Args:
            opcode: TEXT or BINARY. Text is taken for UTF-8 unseen.
            payload: The message or its next piece.
            fin: Whether the message ends with it.

        Raises:
            ConnectionClosed: If the conversation is closing or closed.
            ValueError: If a message of the other opcode is under way.
        """
        if isinstance(payload, memoryview):
            payload = payload.tobytes()
        if self._state is not _OPEN:
            return self._send_early(opcode, payload, fin=fin)
        if self._sending is None and fin and self._deflate is None:
            key = None if self._draw is None else self._draw()
            return encode_frame(opcode, payload, key=key)
        return self._send_piece(opcode, payload, fin=fin)

    def send_many(self, opcode: Opcode, payloads: Iterable[Buffer]) -> bytes:
        """Return the bytes that carry one message for each payload.

        Raises:
            ConnectionClosed: If the conversation is closing or closed.
            ValueError: If a message begun with `fin=False` is under way.
        """
        if self._sending is not None:
            raise ValueError(f"a {self._sending.name} message is under way; end it")
        return b"".join([self.send(opcode, payload) for payload in payloads])

    def ping(self, payload: Buffer = b"") -> bytes:
        """Return the bytes of a ping.

        Raises:
            ConnectionClosed: If the conversation is not open (any more).
            ValueError: If the payload is longer than 125 bytes.
        """
        return self._control(Opcode.PING, payload)

    def pong(self, payload: Buffer = b"") -> bytes:
        """Return the bytes of a pong nobody asked for; pings are answered anyway.

        Raises:
            ConnectionClosed: If the conversation is not open (any more).
            ValueError: If the payload is longer than 125 bytes.
        """
        return self._control(Opcode.PONG, payload)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> bytes:
        """Return the bytes that ask the peer to close; none if that is under way.

        Before the handshake's end there is nobody to ask, and the state is CLOSED at
        once.

        Raises:
            ValueError: If the code must not be sent or the reason is too long.
        """
        body = encode_close(code, reason)
        state = self._state
        if state in (State.CLOSING, State.CLOSED):
            return b""
        self._move(_Event.CLOSE_SENT)
        self._ending = _Ending.WE_ASKED
        if state is State.CONNECTING:
            self._close_code, self._close_reason = code, reason
            self._release()
            self._replies.clear()
            return b""
        self._close_reason = reason
        return self._encode(Opcode.CLOSE, body)

    def _encode(self, opcode: Opcode, payload: Buffer) -> bytes:
        key = None if self._draw is None else self._draw()
        return encode_frame(opcode, payload, key=key)

    def _control(self, opcode: Opcode, payload: Buffer) -> bytes:
        if isinstance(payload, memoryview):
            payload = payload.tobytes()
        if len(payload) > MAX_CONTROL:
            raise ValueError(
                f"a {opcode.name} has at most {MAX_CONTROL} bytes, was {len(payload)}"
            )
        if self._state is not State.OPEN:
            raise self._refusal()
        return self._encode(opcode, payload)

    def _refusal(self) -> ConnectionClosed:
        """Return what a send raises when it comes too early or too late."""
        if self._state is State.CONNECTING:
            return ConnectionClosed(
                CloseCode.ABNORMAL, "the handshake is not complete yet", "local"
            )
        code = CloseCode.NORMAL if self._close_code is None else self._close_code
        return ConnectionClosed(code, self._close_reason, _INITIATED_BY[self._ending])

    def _send_early(self, opcode: Opcode, payload: Buffer, *, fin: bool) -> bytes:
        if self._state is not State.CONNECTING:
            raise self._refusal()
        self._early.append((opcode, bytes(payload), fin))
        return b""

    def _send_piece(self, opcode: Opcode, payload: Buffer, *, fin: bool) -> bytes:
        """Encode a fragment, or a message that may be compressed."""
        under_way = self._sending
        if under_way is not None and opcode is not under_way:
            raise ValueError(
                f"a {under_way.name} message is under way; end it with fin=True "
                f"before a {opcode.name} one"
            )
        deflate = self._deflate
        rsv1 = False
        if deflate is not None and deflate.takes(payload, first=under_way is None):
            rsv1 = under_way is None
            payload = deflate.compress(bytes(payload), fin=fin)
        self._sending = None if fin else opcode
        key = None if self._draw is None else self._draw()
        wire = opcode if under_way is None else Opcode.CONTINUATION
        return encode_frame(wire, payload, fin=fin, rsv1=rsv1, key=key)

    # -- handshake -------------------------------------------------------------------

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Complete the upgrade that a client asked for in `request`.

        Then `feed(b"")` delivers what the client sent along, if `held`.

        Raises:
            ValueError: If this is no server with a request to answer, or an argument
                does not fit.
        """
        handshake = self._handshake
        if not isinstance(handshake, ServerHandshake) or handshake.request is None:
            raise ValueError("there is no request to accept")
        if self._state is not State.CONNECTING:
            raise ValueError(f"the request was answered: state is {self._state.value}")
        answer, deflate = self._agree(handshake.request)
        headers = tuple(headers)
        head = handshake.accept(
            subprotocol=subprotocol, extensions=answer, headers=headers
        )
        self._replies.append(head)
        self._upgrade(Agreement(subprotocol, answer, headers), deflate)

    def reject(
        self,
        status: int,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Refuse the upgrade that a client asked for; the conversation is CLOSED.

        Raises:
            ValueError: If this is no server that shakes hands, or an argument does
                not fit.
        """
        handshake = self._handshake
        if not isinstance(handshake, ServerHandshake):
            raise ValueError("only a server can reject a request")  # noqa: TRY004 - the object's role is a value
        if self._state is not State.CONNECTING:
            raise ValueError(f"the request was answered: state is {self._state.value}")
        headers = tuple(headers)
        answer = handshake.reject(status, headers=headers, body=body)
        self._break(
            HandshakeError(status, headers, body, message=f"refused with {status}")
        )
        self._replies.append(answer)

    def _agree(self, request: Request) -> tuple[str, Deflate | None]:
        if self._config is None:
            return "", None
        offers = [
            value
            for name, value in request.headers
            if name.lower() == "sec-websocket-extensions"
        ]
        accepted = accept_offer(", ".join(offers), self._config)
        return accepted or ("", None)

    def _shake(self, data: bytes, timestamp_ns: Timestamp) -> None:
        """Take bytes of the handshake; those after it are held."""
        self._held_ns = timestamp_ns
        handshake = self._handshake
        try:
            if isinstance(handshake, ServerHandshake):
                self._listen(handshake, data)
            elif isinstance(handshake, ClientHandshake):
                agreement = handshake.feed(data)
                if agreement is not None:
                    self._upgrade(agreement, self._settle(agreement))
                    self._held = agreement.rest
        except HandshakeError as error:
            if isinstance(handshake, ServerHandshake):
                self._replies.append(handshake.reject(error.status))
            self._break(error)

    def _listen(self, handshake: ServerHandshake, data: bytes) -> None:
        if handshake.request is not None:
            self._held += data
        elif handshake.feed(data) is not None:
            self._held = handshake.rest
        if len(self._held) > DEFAULT_MAX_FRAME:
            raise HandshakeError(400, message="frames before the upgrade was accepted")

    def _settle(self, agreement: Agreement) -> Deflate | None:
        """Return the codec that the answer means.

        Raises:
            HandshakeError: If the answer's extensions are not those we offered.
        """
        if self._config is None:
            return None
        try:
            return check_answer(agreement.extensions, self._config)
        except ValueError as exc:
            raise HandshakeError(101, agreement.headers, message=str(exc)) from exc

    def _upgrade(self, agreement: Agreement, deflate: Deflate | None) -> None:
        """Open the conversation and let the early messages go."""
        self._move(_Event.UPGRADED)
        self.agreement = agreement
        self._deflate = deflate
        if deflate is not None:
            self._reader = self._make_reader(deflate=deflate)
        early, self._early = self._early, []
        for opcode, payload, fin in early:
            self._replies.append(self.send(opcode, payload, fin=fin))

    def _handshake_ended(self) -> NetError:
        if isinstance(self._handshake, ClientHandshake):
            return self._handshake.feed_eof()
        return HandshakeError(
            0, message="the client left before its request was complete or answered"
        )


_MAX_REASON: Final = 123

# Pongs kept for a peer that pings and does not read. The oldest go first: §5.5.3 lets
# us answer "only the most recently processed Ping frame".
_MOST_PONGS: Final = 1024


def _zero_key() -> int:
    return 0
