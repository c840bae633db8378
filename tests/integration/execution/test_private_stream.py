"""Opening a private stream against a scripted server."""

from contextlib import asynccontextmanager

import pytest
import trio

from integration.errors import (
    Deserialise,
    Terminated,
    Unauthorised,
    WebSocket,
)
from integration.execution.private_stream import Greeting, open_private_stream
from netcore.errors import NetError
from netcore.trio import open_websocket, serve_websocket


class Echo:
    """Makes an event of every message: the message itself."""

    def transform(self, message, time_received):
        return ((message, time_received),)


def decode(payload):
    if payload == b"bad":
        raise ValueError("bad")
    return payload


def answers(payload):
    if payload == b"no":
        raise Unauthorised("no")
    if payload.startswith(b"<html>"):
        raise ValueError("no JSON")
    return payload == b"yes"


@asynccontextmanager
async def server(*replies, begun=None):
    """Answer message number n with the n-th list of texts; say when one has come."""
    closed = trio.Event()

    async def handle(socket):
        try:
            for texts in replies:
                await socket.receive_frame()
                socket.send_many(texts)
            while True:
                await socket.receive_frame()
                if begun is not None:
                    begun.set()
        except NetError:
            pass
        finally:
            closed.set()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, handle, 0)
        yield listening.url, closed
        nursery.cancel_scope.cancel()


async def opened(url, count):
    greetings = [Greeting(b"hello", answers)] * count
    return await open_private_stream(
        open_websocket(url), lambda: greetings, decode, Echo(), now=lambda: 5
    )


async def test_nothing_that_comes_beside_the_answers_is_lost():
    async with server([b"1", b"yes", b"2"], [b"3", b"yes", b"4", b"bad"]) as (url, _):
        stream = await opened(url, 2)
        first = await stream.next_batch()
        await stream.aclose()

    *events, fault = first
    assert events == [(b"1", 5), (b"2", 5), (b"3", 5), (b"4", 5)]
    assert isinstance(fault, Deserialise)


async def test_greetings_wait_for_each_other():
    async with server([b"yes"], [b"yes", b"live"]) as (url, _):
        stream = await opened(url, 2)
        batch = await stream.next_batch()
        await stream.aclose()

    assert [event for event, _ in batch] == [b"live"]


async def test_a_refusal_closes_the_connection():
    async with server([b"no"]) as (url, closed):
        with pytest.raises(Unauthorised):
            await opened(url, 1)
        with trio.fail_after(120):
            await closed.wait()


async def test_an_answer_that_cannot_be_read_closes_the_connection():
    async with server([b"<html>502</html>"]) as (url, closed):
        with pytest.raises(Deserialise) as caught:
            await opened(url, 1)
        with trio.fail_after(120):
            await closed.wait()

    assert "502" in str(caught.value)


async def test_secrets_of_a_greeting_are_masked_in_whatever_comes_before_its_answer():
    said = [b'{"said":"key\\/1"}', b"yes", b"bad key/1"]
    async with server(said) as (url, _):
        stream = await open_private_stream(
            open_websocket(url),
            lambda: [Greeting(b"key/1", answers, ("key/1",))],
            decode,
            Echo(),
            now=lambda: 5,
        )
        (one, _), (two, _) = await stream.next_batch()
        await stream.aclose()

    assert (one, two) == (b'{"said":"***"}', b"bad ***")


async def test_giving_up_closes_the_connection():
    asked = trio.Event()
    async with server(begun=asked) as (url, closed), trio.open_nursery() as nursery:
        nursery.start_soon(opened, url, 1)
        with trio.fail_after(120):
            await asked.wait()
            nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(120):
            await closed.wait()


async def test_a_server_that_hangs_up_is_an_error_of_the_connection():
    async def handle(socket):
        await socket.receive_frame()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(serve_websocket, handle, 0)
        with pytest.raises((Terminated, WebSocket)):
            await opened(listening.url, 1)
        nursery.cancel_scope.cancel()
