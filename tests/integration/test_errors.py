import inspect
import re

import pytest

from integration import errors
from integration.errors import (
    ChecksumMismatch,
    DataError,
    Deserialise,
    DeserialiseBinary,
    GaveUp,
    HttpResponse,
    InitialSnapshotMissing,
    IntegrationError,
    InvalidSequence,
    LocalError,
    Overload,
    RateLimited,
    RemoteError,
    Scope,
    SequenceGap,
    SocketError,
    Subscribe,
    Terminated,
    Unidentifiable,
    UnknownIndex,
    UnknownOutcome,
    Unsupported,
    UnsupportedSubKind,
)

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, Exception) and value.__module__ == errors.__name__
]

# The variants of the seed, and what was added to them.
SOCKET_VARIANTS = """
    Sink Deserialise DeserialiseBinary DeserialiseProtobuf Serialise QueryParams
    UrlEncoded UrlParse Subscribe Terminated Exchange Unsupported WebSocket Http
    HttpTimeout HttpResponse TlsError Unidentifiable DnsError RateLimited Maintenance
    ClockSkew ChecksumMismatch SequenceGap Overload
"""


@pytest.mark.parametrize("name", re.findall(r"\w+", SOCKET_VARIANTS))
def test_every_variant_is_a_socket_error(name):
    assert issubclass(getattr(errors, name), SocketError)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_error_stands_in_the_drawn_tree_below_its_base(kind):
    def depth(name):
        line = re.search(rf"^.*\b{name}\b.*$", errors.__doc__, re.MULTILINE)[0]
        return re.search(r"[A-Z]", line).start()

    base = kind.__bases__[0]
    if base is not Exception:
        assert depth(kind.__name__) > depth(base.__name__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda c: c.__name__)
def test_every_error_tells_a_driver_what_it_must_know(kind):
    assert isinstance(kind.recoverable, bool)
    assert isinstance(kind.terminal, bool)
    assert isinstance(kind.scope, Scope)


def test_what_we_did_wrong_and_what_the_peer_did_are_apart():
    for kind in CLASSES:
        assert not issubclass(kind, LocalError) or not issubclass(kind, RemoteError)
        below = issubclass(kind, LocalError | RemoteError | DataError)
        assert below or kind in {IntegrationError, SocketError}


def test_our_own_mistakes_do_not_pass_by_themselves():
    kinds = [c for c in CLASSES if issubclass(c, LocalError) and c is not Overload]

    assert not any(c.recoverable for c in kinds)


def test_the_seeds_questions_can_be_asked():
    assert InvalidSequence(1, 3).is_terminal()
    assert not InvalidSequence(1, 3).is_unrecoverable()
    assert UnknownOutcome("?").is_unrecoverable()


def test_a_payload_is_shown_in_part_and_kept_in_whole():
    fault = Deserialise("bad", "é" * 5000)

    assert fault.payload == "é" * 5000
    assert str(fault) == f"bad; payload: {'é' * 4096}... (5000 in all)"
    assert str(Deserialise("bad", "{")) == "bad; payload: {"


def test_how_much_is_shown_can_be_changed(monkeypatch):
    monkeypatch.setattr(Deserialise, "shown", 3)

    assert str(Deserialise("bad", "abcdef")) == "bad; payload: abc... (6 in all)"
    assert str(DeserialiseBinary("bad", b"\xffbcdef")) == (
        "bad; payload: \ufffdbc... (6 in all)"
    )


def test_messages_name_what_was_wrong():
    assert str(Unsupported("kraken", "candles")) == "kraken does not support candles"
    assert str(UnsupportedSubKind("okx", "l3")) == "okx does not support l3"
    assert str(Terminated(1000)) == "the peer closed the connection: 1000"
    assert str(Terminated(1008, "rude")).endswith("1008 rude")
    assert str(Unidentifiable("trade|X")) == "no subscription is known as 'trade|X'"
    assert str(UnknownIndex("asset", "x")) == "no asset is indexed under 'x'"
    assert "had to come next, was 9" in str(SequenceGap("X", expected=7, actual=9))
    assert "starts at 3 does not follow 1" in str(InvalidSequence(1, 3))


def test_books_name_what_they_differ_in():
    gap = SequenceGap("X", expected=7, actual=9)
    checksum = ChecksumMismatch("X", expected=1, actual=2)
    missing = InitialSnapshotMissing("depth|X")

    assert (gap.instrument, gap.expected, gap.actual) == ("X", 7, 9)
    assert str(checksum) == "X: the venue's checksum is 1, ours was 2"
    assert (checksum.instrument, checksum.expected, checksum.actual) == ("X", 1, 2)
    assert str(missing) == "no snapshot came for 'depth|X'"
    assert {gap.scope, checksum.scope, missing.scope} == {Scope.INSTRUMENT}


def test_http_details_are_kept():
    fault = RateLimited("slow", code="-1003", status=429, retry_after=3.0)

    assert (fault.code, fault.status, fault.retry_after) == ("-1003", 429, 3.0)
    assert fault.headers == {}
    assert fault.recoverable


@pytest.mark.parametrize(
    ("status", "recoverable"),
    [(302, False), (400, False), (404, False), (408, True), (500, True), (503, True)],
)
def test_a_status_says_whether_trying_again_can_help(status, recoverable):
    assert HttpResponse(status, "").recoverable is recoverable


def test_a_long_body_is_not_the_message():
    assert len(str(HttpResponse(500, "x" * 99_999))) < 4200


def test_attempts_are_counted_in_giving_up():
    assert GaveUp("tired", attempts=7).attempts == 7


def test_subscribe_has_two_names():
    assert errors.SubscribeError is Subscribe
