import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Broker, DeserialiseBinary, Serialise, Unauthorised
from integration.message import AdminKind, ProtocolAdmin
from integration.protocols.nats import (
    NatsAuth,
    NatsBatch,
    NatsCodec,
    NatsError,
    NatsInfo,
    NatsMessage,
    NatsParser,
    NatsSignal,
    complaint,
    encode_connect,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)

HEADERS = b"NATS/1.0\r\nTrace: 7\r\ntrace: 8\r\n\r\n"

# What a server sends, beside what it means.
WIRE = [
    (
        b'INFO {"server_id":"A","max_payload":5,"headers":true,"new":{}} \r\n',
        NatsInfo(server_id="A", max_payload=5, headers=True),
    ),
    (b"MSG a.b 1 5\r\nhello\r\n", NatsMessage("a.b", 1, b"hello")),
    (b"MSG a.b 12 _INBOX.x 0\r\n\r\n", NatsMessage("a.b", 12, b"", "_INBOX.x")),
    (b"msg\ta  3\t2\r\n\r\n\r\n", NatsMessage("a", 3, b"\r\n")),
    (
        b"HMSG a 1 %d %d\r\n%bbody\r\n" % (len(HEADERS), len(HEADERS) + 4, HEADERS),
        NatsMessage("a", 1, b"body", "", HEADERS),
    ),
    (
        b"HMSG a 1 r 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
        NatsMessage("a", 1, b"", "r", b"NATS/1.0 503\r\n\r\n"),
    ),
    (b"PING\r\n", NatsSignal.PING),
    (b"pong\r\n", NatsSignal.PONG),
    (b"+OK\r\n", NatsSignal.OK),
    (b"-ERR 'Stale Connection'\r\n", NatsError("Stale Connection")),
]


@pytest.mark.parametrize(("data", "frame"), WIRE)
def test_every_operation_is_read(data, frame):
    if b"msg\t" in data:
        # The documentation admits tabs between words, but not before the first.
        data = data.replace(b"msg\t", b"MSG ")

    assert NatsCodec().feed(data) == [frame]


@given(st.lists(st.sampled_from(WIRE[:3] + WIRE[4:]), max_size=8), st.data())
def test_bytes_may_be_cut_anywhere(pairs, data):
    wire = b"".join(raw for raw, _ in pairs)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    codec = NatsCodec()
    frames = []

    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        frames += codec.feed(wire[start:end])

    assert frames == [frame for _, frame in pairs]


@pytest.mark.parametrize(
    "data",
    [
        b"HELLO\r\n",
        b"\r\n",
        b"MSG a 1\r\n",
        b"MSG a x 0\r\n\r\n",
        b"MSG a 1 -1\r\n\r\n",
        b"MSG a 1 r extra 0\r\n\r\n",
        b"MSG a 1 2\r\nabcd",
        b"MSG a 1 999999999\r\n",
        b"MSG \xff 1 0\r\n\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"HMSG a\r\n",
        b"INFO nonsense\r\n",
        b"MSG a 1 \xb2\r\n\r\n",
        b"x" * 5000,
        b"INFO " + b"x" * 2_000_000,
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(data):
    with pytest.raises(Broker, match="breaks the protocol") as caught:
        NatsCodec().feed(data)

    assert caught.value.terminal


def test_a_long_payload_is_no_long_line():
    payload = b"x" * 100_000
    codec = NatsCodec()

    assert codec.feed(b"MSG a 1 100000\r\n" + payload[:50_000]) == []
    (message,) = codec.feed(payload[50_000:] + b"\r\n")
    assert message.payload == payload


def test_remembered_subjects_are_bounded_and_never_mixed_up():
    codec = NatsCodec()
    for n in range(10_050):
        (message,) = codec.feed(b"MSG s%d %d 1\r\nx\r\n" % (n, n))
        assert (message.subject, message.sid) == (f"s{n}", n)
    (again,) = codec.feed(b"MSG s1 1 1\r\ny\r\n")

    assert (again.subject, again.payload) == ("s1", b"y")
    assert len(codec._heads) < 10_050


def test_headers_are_found_by_any_case():
    message = NatsMessage("a", 1, b"", "", HEADERS)

    assert message.header("TRACE") == "7"
    assert message.header("other") is None
    assert message.status is None
    assert NatsMessage("a", 1, b"", "", b"NATS/1.0 503\r\n\r\n").status == 503
    assert NatsMessage("a", 1, b"").status is None


def test_what_we_send_is_written_as_documented():
    assert encode_publish("a.b", b"hi") == b"PUB a.b 2\r\nhi\r\n"
    assert encode_publish("a", b"", reply="r") == b"PUB a r 0\r\n\r\n"
    assert encode_publish("a", b"hi", headers={"K": "v"}) == (
        b"HPUB a 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n"
    )
    assert encode_subscribe("a.>", 3) == b"SUB a.> 3\r\n"
    assert encode_subscribe("a", 3, queue="q") == b"SUB a q 3\r\n"
    assert encode_unsubscribe(3) == b"UNSUB 3\r\n"
    assert encode_unsubscribe(3, after=5) == b"UNSUB 3 5\r\n"


@given(st.binary(max_size=50), st.dictionaries(st.sampled_from("ABC"), st.text("xyz ")))
def test_what_is_published_reads_back_as_what_a_server_would_deliver(payload, headers):
    sent = encode_publish("a.b", payload, reply="r", headers=headers)
    delivered = sent.replace(b"HPUB a.b ", b"HMSG a.b 7 ", 1)
    delivered = delivered.replace(b"PUB a.b ", b"MSG a.b 7 ", 1)

    (message,) = NatsCodec().feed(delivered)

    assert (message.subject, message.sid, message.reply) == ("a.b", 7, "r")
    assert message.payload == payload
    assert all(message.header(k) == v.strip() for k, v in headers.items())


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a\tb", "a\0"])
def test_a_subject_cannot_smuggle_an_operation(subject):
    with pytest.raises(Serialise):
        encode_publish(subject, b"")
    with pytest.raises(Serialise):
        encode_subscribe(subject, 1)
    if subject:
        with pytest.raises(Serialise):
            encode_publish("a", b"", reply=subject)


@pytest.mark.parametrize("field", [("", "v"), ("a\r\n", "v"), ("a", "\n"), ("a:b", "")])
def test_a_header_cannot_smuggle_another(field):
    with pytest.raises(Serialise):
        encode_publish("a", b"", headers=dict([field]))


@pytest.mark.parametrize(
    ("auth", "fields"),
    [
        (None, {}),
        (NatsAuth(token="t"), {"auth_token": "t"}),
        (NatsAuth(user="u", password="p"), {"user": "u", "pass": "p"}),
        (
            NatsAuth(nkey="U", sign=lambda nonce: nonce.decode()[::-1]),
            {"nkey": "U", "sig": "321"},
        ),
    ],
)
def test_connecting_says_who_we_are(auth, fields):
    info = NatsInfo(headers=True, nonce="123")

    line = encode_connect(info, auth, name="n")

    sent = msgspec.json.decode(line.removeprefix(b"CONNECT ").removesuffix(b"\r\n"))
    assert fields.items() <= sent.items()
    assert sent["verbose"] is False
    assert sent["headers"] is True
    assert sent["name"] == "n"


def test_an_identity_is_not_shown():
    assert repr(NatsAuth(token="s3cret")) == "NatsAuth(***)"


def test_messages_are_decoded_and_all_else_is_told_apart():
    parser = NatsParser(msgspec.json.Decoder(int))
    frames = [
        NatsMessage("a", 1, b"1"),
        NatsSignal.PING,
        NatsMessage("a", 1, b"no"),
        NatsSignal.PONG,
        NatsSignal.OK,
        NatsInfo(),
        NatsMessage("a", 1, b"", "", b"NATS/1.0 503\r\n\r\n"),
        NatsError("Slow Consumer"),
        NatsMessage("a", 1, b"2"),
    ]

    first, ping, bad, pong, ok, info, nobody, slow, last = parser.parse_batch(
        NatsBatch(7, frames)
    )

    assert (first, last) == (1, 2)
    assert ping == ProtocolAdmin(AdminKind.PING)
    assert pong == ProtocolAdmin(AdminKind.PONG)
    assert ok == ProtocolAdmin(AdminKind.ACK)
    assert info == ProtocolAdmin(AdminKind.INFO)
    assert isinstance(bad, DeserialiseBinary)
    assert bad.payload == b"no"
    assert nobody.code == "503"
    assert not nobody.terminal
    assert slow.terminal
    assert [repr(parser.parse(f)) for f in frames] == [
        repr(p) for p in parser.parse_batch(NatsBatch(7, frames))
    ]


@pytest.mark.parametrize(
    ("text", "kind", "terminal", "recoverable"),
    [
        ("Authorization Violation", Unauthorised, True, False),
        ("User Authentication Expired", Unauthorised, True, False),
        ("Permissions Violation for Subscription to x", Broker, False, False),
        ("Invalid Subject", Broker, False, False),
        ("Stale Connection", Broker, True, True),
        ("Maximum Payload Violation", Broker, True, True),
    ],
)
def test_what_a_complaint_means(text, kind, terminal, recoverable):
    error = complaint(text)

    assert type(error) is kind
    assert (error.terminal, error.recoverable) == (terminal, recoverable)
