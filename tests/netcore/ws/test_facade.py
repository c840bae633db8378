"""What drivers show is what the end below says, at every moment."""

import contextlib

import pytest

from netcore.blocking import BlockingWebSocket
from netcore.errors import ConnectionClosed
from netcore.testing import memory_stream_pair
from netcore.trio import TrioWebSocket
from netcore.ws import Role, State, WebSocket
from netcore.ws.facade import WebSocketFacade

VIEWS = [
    name for name, value in vars(WebSocketFacade).items() if isinstance(value, property)
]


def shaken():
    """A client's and a server's end after the upgrade."""
    ours, theirs = memory_stream_pair()
    client = WebSocket(ours, "/feed", subprotocols=["v1"])
    server = WebSocket.serve(theirs)
    client.read_batch()
    server.read_batch()
    server.accept(subprotocol="v1")
    client.read_batch()
    return client, server


def test_both_drivers_have_the_same_views():
    for driver in (BlockingWebSocket, TrioWebSocket):
        assert issubclass(driver, WebSocketFacade)
        assert not set(VIEWS) & set(vars(driver))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", sorted(set(VIEWS) - {"websocket", "subprotocol"}))
def test_a_view_is_what_the_end_below_says(name, role):
    client, server = shaken()
    end, other = (client, server) if role is Role.CLIENT else (server, client)
    facade = WebSocketFacade(end)

    for step in (lambda: None, lambda: end.close(4000, "enough"), other.read_batch):
        with contextlib.suppress(ConnectionClosed):
            step()
        assert getattr(facade, name) == getattr(end, name)


def test_the_subprotocol_is_the_agreements_if_there_is_any():
    client, server = shaken()

    assert WebSocketFacade(client).subprotocol == "v1"
    assert WebSocketFacade(client).websocket is client
    assert WebSocketFacade(server).request.target == "/feed"
    bare = WebSocket.open(memory_stream_pair()[0])
    assert WebSocketFacade(bare).subprotocol is None
    assert WebSocketFacade(bare).state is State.OPEN
