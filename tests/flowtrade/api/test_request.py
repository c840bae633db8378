"""Bodies that come in pieces, as other servers than ours hand them on."""

from types import SimpleNamespace

import pytest
import trio
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from flowtrade.api.request import Api

LIMIT = 8


def request(*pieces, length=None):
    """A request whose body comes in these pieces; None is the peer's going."""
    events = [
        {"type": "http.disconnect"}
        if piece is None
        else {"type": "http.request", "body": piece, "more_body": True}
        for piece in pieces
    ]
    events[-1].pop("more_body", None)
    handler = SimpleNamespace(resolve_request_max_body_size=lambda: LIMIT)
    lines = [] if length is None else [(b"content-length", length)]
    scope = {"type": "http", "headers": lines, "route_handler": handler}

    async def receive():
        await trio.lowlevel.checkpoint()
        return events.pop(0)

    return Api(scope, receive), events


async def test_pieces_are_joined_and_kept():
    asked, events = request(b"abc", b"", b"defgh")

    assert await asked.body() == b"abcdefgh"
    assert await asked.body() == b"abcdefgh"
    assert events == []


async def test_one_piece_is_the_body():
    asked, _ = request(b"abcdefgh")

    assert await asked.body() == b"abcdefgh"


async def test_reading_ends_where_it_is_too_much():
    asked, events = request(b"abcd", b"efgh", b"i", b"j")

    with pytest.raises(RequestEntityTooLarge):
        await asked.body()
    assert len(events) == 1


@pytest.mark.parametrize("length", [b"9", b"99999999999999999999"])
async def test_what_says_that_it_is_too_long_is_not_read(length):
    asked, events = request(b"abcdefghi", length=length)

    with pytest.raises(RequestEntityTooLarge):
        await asked.body()
    assert len(events) == 1


@pytest.mark.parametrize("length", [b"8", b"-9", b"9a", b""])
async def test_lengths_that_are_none_are_the_servers_business(length):
    asked, _ = request(b"abcdefgh", length=length)

    assert await asked.body() == b"abcdefgh"


async def test_a_client_that_goes_halfway_has_sent_no_body():
    asked, _ = request(b"abc", None)

    with pytest.raises(InternalServerException):
        await asked.body()


def test_what_a_request_does_not_have_is_named():
    asked, _ = request(b"")

    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = asked.colour
