"""Streams can be stacked in any order, and every stack is a stream by the same kit."""

import select
import ssl
from itertools import count

import pytest
import trustme
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netcore.errors import BufferFull, RemoteError, TruncatedStream
from netcore.stream import (
    BufferedStream,
    RecordedStream,
    Recorder,
    ReplayStream,
    TlsStream,
    collected_bytes,
    flush_stream,
    secure_context,
)
from netcore.testing import (
    ChaosStream,
    ScriptedStream,
    check_stream,
    memory_stream_pair,
    random_sizes,
    tcp_stream_pair,
)

HOST = "venue.example"
BASES = {"memory": memory_stream_pair, "socket": tcp_stream_pair}
BUFFER = 1_100_000  # takes the kit's largest send whole


@pytest.fixture(scope="module")
def contexts():
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), secure_context()
    authority.issue_cert(HOST).configure_cert(theirs)
    authority.configure_trust(ours)
    # Unread session tickets at the end of a stream that hides them (chaos) would reset
    # the connection.
    theirs.num_tickets = 0
    return ours, theirs


class Stacker:
    """Puts layers over both ends of a pair, from the bottom up."""

    def __init__(self, folder, contexts, base, layers):
        self.folder = folder
        self.contexts = contexts
        self.base = base
        self.layers = layers
        self.numbers = count()

    def __call__(self):
        ends = list(BASES[self.base]())
        for layer in self.layers:
            if layer == "tls":
                ours, theirs = self.contexts
                ends[0] = TlsStream(ends[0], ours, server_hostname=HOST)
                ends[1] = TlsStream(ends[1], theirs, server_side=True)
            else:
                ends = [self.wrap(layer, end) for end in ends]
        return tuple(ends)

    def wrap(self, layer, stream):
        number = next(self.numbers)
        match layer:
            case "buffered":
                return BufferedStream(stream, BUFFER)
            case "recorded":
                return RecordedStream(stream, Recorder(self.folder / str(number)))
            case "chaos":
                # Sends are cut and never blocked: TLS says its end only if that does
                # not block.
                return ChaosStream(
                    stream,
                    receive=random_sizes(number, most=30_000, would_block=0.2),
                    send=random_sizes(number + 1, most=30_000, would_block=0.0),
                )


stacks = st.lists(
    st.sampled_from(["buffered", "recorded", "chaos", "tls"]), min_size=1, max_size=4
)


@settings(max_examples=25)
@given(base=st.sampled_from(sorted(BASES)), layers=stacks)
@example("socket", ["tls", "recorded", "buffered"])  # what a trader stacks
@example("socket", ["recorded", "tls"])  # records what is on the wire
@example("memory", ["buffered", "tls"])  # the handshake is TLS's to flush
@example("socket", ["buffered", "chaos", "tls", "buffered"])
@example("memory", ["buffered", "recorded", "buffered"])
@example("socket", ["tls", "tls"])  # a tunnel within a tunnel
def test_any_stack_conforms(tmp_path_factory, contexts, base, layers):
    folder = tmp_path_factory.mktemp("recordings")

    check_stream(Stacker(folder, contexts, base, layers))


def shake(*streams):
    for _ in range(100):
        for stream in streams:
            stream.connected()
    assert all(stream.connected() for stream in streams)


@pytest.fixture
def collecting_tls(contexts):
    """TLS over a stream that collects, and its peer; both have shaken hands."""
    ours, theirs = contexts
    a, b = memory_stream_pair()
    below = BufferedStream(a, BUFFER)
    client = TlsStream(below, ours, server_hostname=HOST)
    server = TlsStream(b, theirs, server_side=True)
    shake(client, server)
    yield client, server
    client.close()
    server.close()


@pytest.mark.parametrize("below", ["socket", "recorded"])
def test_what_was_taken_arrives_though_the_sender_never_read(tmp_path, contexts, below):
    """A socket that is closed with unread bytes drops what it has not sent yet."""
    ours, theirs = contexts
    a, b = tcp_stream_pair()
    if below == "recorded":
        a = RecordedStream(a, Recorder(tmp_path / "ciphertext"))
    client = TlsStream(a, ours, server_hostname=HOST)
    server = TlsStream(b, theirs, server_side=True)
    shake(client, server)
    server.send(b"never read")
    sent = 0
    while taken := client.send(b"x" * 100_000):  # until nothing more fits
        sent += taken

    client.close()

    got, error = drained(server)
    # The record that would have blocked last may still leave with the end, which
    # itself could not be said without blocking.
    assert got in {sent, sent + 16_384}
    assert isinstance(error, TruncatedStream)
    server.close()


def drained(stream):
    """Return how many bytes still come, and the error that ends them."""
    got = 0
    try:
        while True:
            park(stream)
            got += len(stream.receive() or b"")
    except RemoteError as error:
        return got, error


def park(stream):
    if not stream.buffered:
        assert select.select([stream.fileno()], [], [], 10)[0]


def test_what_is_full_below_is_flushed_and_filled_again():
    a, b = memory_stream_pair()
    below = BufferedStream(a, 1_000)
    top = BufferedStream(below, 1_000)
    below.send(b"a" * 600)
    top.send(b"b" * 600)

    assert top.flush()
    assert b.receive() == b"a" * 600 + b"b" * 600


def test_records_wait_below_until_the_top_is_flushed(collecting_tls):
    client, server = collecting_tls

    assert client.send(b"order") == 5
    assert client.pending_bytes > 5  # a record is more than its plaintext
    assert server.receive() is None
    assert client.flush()
    assert (client.pending_bytes, server.receive()) == (0, b"order")


def test_the_end_of_tls_is_said_where_nothing_of_the_users_waits(collecting_tls):
    client, server = collecting_tls

    client.close()

    assert server.receive() == b""


def test_the_end_is_not_said_behind_bytes_that_were_dropped(collecting_tls):
    client, server = collecting_tls
    client.send(b"half an order")

    client.close()

    with pytest.raises(TruncatedStream):
        server.receive()


def test_a_full_stream_below_is_a_would_block_for_tls(contexts):
    ours, theirs = contexts
    a, b = memory_stream_pair(capacity=1 << 20)
    client = TlsStream(BufferedStream(a, 20_000), ours, server_hostname=HOST)
    server = TlsStream(b, theirs, server_side=True)
    shake(client, server)

    assert client.send(b"x" * 40_000) == 16_384
    assert client.send(b"x" * 20_000) == 0
    assert client.flush()
    assert client.send(b"x" * 23_616) > 0
    client.close()
    server.close()


def test_what_never_fits_below_is_an_error(contexts):
    ours, theirs = contexts
    a, b = memory_stream_pair(capacity=1 << 20)
    client = TlsStream(BufferedStream(a, 5_000), ours, server_hostname=HOST)
    server = TlsStream(b, theirs, server_side=True)
    shake(client, server)

    with pytest.raises(BufferFull):
        client.send(b"x" * 16_384)
    server.close()
    client.close()


def test_a_small_buffer_below_a_large_one_is_filled_as_often_as_it_takes():
    a, b = memory_stream_pair(capacity=1 << 20)
    top = BufferedStream(BufferedStream(a, 1_000), 100_000)
    pieces = [bytes([n]) * 900 for n in range(50)]
    for piece in pieces:
        top.send(piece)
        top.flush()

    assert b.receive(100_000) == b"".join(pieces)


def test_a_flush_that_is_blocked_says_so_and_goes_on():
    a, b = memory_stream_pair(capacity=1_000)
    top = BufferedStream(BufferedStream(a, 2_000), 100_000)
    top.send(b"x" * 1_500)

    assert not top.flush()
    assert (collected_bytes(top), len(b.receive())) == (500, 1_000)
    assert top.flush()
    assert collected_bytes(top) == 0


def test_a_piece_that_never_fits_below_is_an_error():
    a, _ = memory_stream_pair()
    top = BufferedStream(BufferedStream(a, 10), 100)
    top.send(b"x" * 11)

    with pytest.raises(BufferFull):
        top.flush()


def test_streams_that_collect_nothing_are_flushed_for_nothing(tmp_path):
    stream = ScriptedStream()
    over = RecordedStream(ChaosStream(stream), Recorder(tmp_path / "r"))

    assert flush_stream(stream)
    assert flush_stream(over)
    assert collected_bytes(stream) == collected_bytes(over) == 0
    over.close()


def test_a_recording_of_a_recording_is_the_same(tmp_path):
    """A replay is a stream like any other: it can be recorded and buffered again."""
    first = RecordedStream(
        ScriptedStream([b"a", None, b"bc", b""]), Recorder(tmp_path / "first")
    )
    said = [first.receive() for _ in range(4)]
    first.close()

    again = BufferedStream(
        RecordedStream(ReplayStream(tmp_path / "first"), Recorder(tmp_path / "second"))
    )
    assert [again.receive() for _ in range(4)] == said
    again.close()
    for part in ("inbound", "inbound_seq", "inbound_time", "outbound"):
        one, two = (tmp_path / f"{name}_{part}.rec" for name in ("first", "second"))
        assert one.read_bytes() == two.read_bytes()
