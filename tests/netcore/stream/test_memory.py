import pytest

from netcore.errors import ConnectionLost
from netcore.testing import check_stream, memory_stream_pair


@pytest.mark.parametrize("capacity", [65536, 100_000])
def test_a_memory_pair_conforms(capacity):
    check_stream(lambda: memory_stream_pair(capacity=capacity))


def test_bytes_are_there_as_soon_as_send_returns():
    client, server = memory_stream_pair()

    assert not server.buffered
    assert client.send(b"abc") == 3
    assert server.buffered
    assert server.receive(2) == b"ab"
    assert server.receive() == b"c"
    assert server.receive() is None


def test_the_capacity_bounds_what_waits_in_each_direction():
    client, server = memory_stream_pair(capacity=3)

    assert client.send(b"abcd") == 3
    assert client.send(b"d") == 0
    assert server.send(b"12") == 2
    server.receive(1)
    assert client.send(b"de") == 1


def test_sending_to_a_closed_end_is_an_error():
    client, server = memory_stream_pair()
    server.close()

    with pytest.raises(ConnectionLost, match=r"memory\.server:0> was closed"):
        client.send(b"x")


def test_the_ends_name_each_other():
    client, server = memory_stream_pair()

    assert (str(client.info), str(server.info)) == (
        "memory.server:0",
        "memory.client:0",
    )


def test_a_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match="was 0"):
        memory_stream_pair(capacity=0)
