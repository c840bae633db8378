"""Opening a private stream: connect, say who we are, wait to be let in.

What venues differ in (which messages, what counts as an answer) is given; what they
share is here: nothing that comes beside the answers is lost, and whatever fails, the
connection is closed.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, TypeVar

from integration.errors import UNDECODABLE, Deserialise, IntegrationError
from integration.execution.models import AccountEvent
from integration.protocols.websocket import WebSocketParser, WebSocketSource, connect
from integration.rest.prepared import scrub
from integration.stream.exchange_stream import BatchStream, ExchangeStream
from integration.stream.mapping import socket_error
from integration.stream.reconnect import ReconnectPolicy
from integration.stream.transformer import Transformer
from netcore.errors import NetError
from netcore.trio import TrioWebSocket

__all__ = ["STREAM_POLICY", "Greeting", "open_private_stream"]

M = TypeVar("M")

STREAM_POLICY = ReconnectPolicy(close_timeout=1.0)
"""How a private stream is brought back: for ever, and soon. A dead connection is not
waited for to say goodbye for as long as one of market data."""


class Greeting(NamedTuple):
    """A message to send, and what says whether a payload answers it.

    Attributes:
        message: what is sent.
        answers: returns False for any other message, and raises a `SocketError` for an
            answer that is a refusal.
        secrets: parts of the message that a venue may repeat and nobody may see.
    """

    message: bytes
    answers: Callable[[bytes], bool]
    secrets: tuple[str, ...] = ()


async def open_private_stream(
    opening: AbstractAsyncContextManager[TrioWebSocket],
    greetings: Callable[[], Sequence[Greeting]],
    decode: Callable[[bytes], M],
    transformer: Transformer[M, AccountEvent | IntegrationError],
    *,
    now: Callable[[], int],
) -> BatchStream[AccountEvent | IntegrationError]:
    """Open a stream and return it once every greeting is answered.

    Args:
        opening: What `netcore.trio.open_websocket` returns.
        greetings: Makes the messages, in order, when the connection is up: signatures
            are not to age while it is made. Each is sent when the one before it is
            answered.
        decode: Decodes a message of the stream.
        transformer: Makes events of messages.
        now: Stamps what came before the last answer, ns.

    Raises:
        SocketError: There is no connection, or a greeting was refused, or answered by
            what cannot be read.
    """
    source = await connect(opening)
    try:
        early: list[bytes] = []
        for greeting in greetings():
            await _greet(source, greeting, early)
    except (NetError, OSError) as error:
        await source.aclose()
        raise socket_error(error) from error
    except BaseException:
        source.socket.abort()
        await source.aclose()
        raise
    initial = _transformed(early, decode, transformer, now())
    return ExchangeStream(source, WebSocketParser(decode), transformer, initial=initial)


async def _greet(
    source: WebSocketSource[TrioWebSocket], greeting: Greeting, early: list[bytes]
) -> None:
    """Send a greeting; keep what comes before, and with, its answer."""
    source.socket.send_text(greeting.message)
    while True:
        answered = False
        for frame in await source.read_batch():
            payload = _clean(frame.payload, greeting.secrets)
            if not answered and _answers(greeting, payload):
                answered = True
            else:
                early.append(payload)
        if answered:
            return


def _clean(payload: bytes, secrets: tuple[str, ...]) -> bytes:
    """Mask what a venue repeats of our greeting: errors show what they are about."""
    text = payload.decode("utf-8", "replace")
    clean = scrub(text, secrets)
    return payload if clean == text else clean.encode()


def _answers(greeting: Greeting, payload: bytes) -> bool:
    try:
        return greeting.answers(payload)
    except UNDECODABLE as error:
        # A gateway's page in place of an answer: the next connection may be better.
        raise Deserialise(str(error), payload) from error


def _transformed(
    payloads: Iterable[bytes],
    decode: Callable[[bytes], M],
    transformer: Transformer[M, AccountEvent | IntegrationError],
    received: int,
) -> list[AccountEvent | IntegrationError]:
    events: list[AccountEvent | IntegrationError] = []
    for payload in payloads:
        try:
            events.extend(transformer.transform(decode(payload), received))
        except UNDECODABLE as error:
            events.append(Deserialise(str(error), payload))
    return events
