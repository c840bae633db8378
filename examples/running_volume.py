"""Keep a running volume of trades: a stream with a transformer that has state.

Shows the three parts of an `ExchangeStream`: a source of batches (here a recorded
one; `integration.protocols.websocket.connect` opens a live one), a parser that
decodes, and a transformer that makes outputs.
"""

from collections.abc import Iterable

import msgspec
import trio

from integration.errors import IntegrationError
from integration.protocols.websocket import WebSocketParser
from integration.stream import ExchangeStream
from netcore.ws import Batch, Frame

MESSAGES = (
    b'{"result":null,"id":1}',
    b'{"e":"trade","q":"1.5"}',
    b'{"e":"trade","q":"2"}',
)


class Message(msgspec.Struct):
    """A confirmation, or a trade with its quantity."""

    id: int | None = None
    quantity: str | None = msgspec.field(name="q", default=None)


class RunningVolume:
    """Adds up the quantities that have been traded."""

    def __init__(self) -> None:
        self.volume = 0.0

    def transform(self, message: Message, time_received: int) -> Iterable[float]:
        """Return the volume after this message."""
        del time_received
        if message.quantity is not None:
            self.volume += float(message.quantity)
        return (self.volume,)


class Recording:
    """Messages as one read of a socket would deliver them, then the end."""

    def __init__(self, *messages: bytes) -> None:
        self._batches = [Batch(1_700_000_000_000_000_000, list(messages))]

    async def read_batch(self) -> Batch:
        """Return the next batch."""
        await trio.lowlevel.checkpoint()
        if not self._batches:
            raise trio.EndOfChannel
        return self._batches.pop(0)

    async def aclose(self) -> None:
        """Have nothing to close."""
        await trio.lowlevel.checkpoint()


async def main() -> list[float | IntegrationError]:
    """Print the running volume after each message."""
    parser: WebSocketParser[Message] = WebSocketParser(msgspec.json.Decoder(Message))
    stream: ExchangeStream[Frame, Message, float] = ExchangeStream(
        Recording(*MESSAGES), parser, RunningVolume()
    )
    volumes = []
    async for volume in stream:
        print(volume)
        volumes.append(volume)
    return volumes


if __name__ == "__main__":
    trio.run(main)
