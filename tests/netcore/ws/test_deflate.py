"""permessage-deflate: negotiation and codec, by RFC 7692's words and examples."""

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.ws.deflate import (
    Deflate,
    DeflateConfig,
    accept_offer,
    check_answer,
    offer,
)
from netcore.ws.frames import Fault

PLAIN = DeflateConfig()
BIG = 1 << 20


def agreed(client: DeflateConfig, server: DeflateConfig) -> tuple[Deflate, Deflate]:
    accepted = accept_offer(offer(client), server)
    assert accepted is not None
    answer, servers = accepted
    clients = check_answer(answer, client)
    assert clients is not None
    return clients, servers


CONFIGS = st.builds(
    DeflateConfig,
    send_window_bits=st.integers(9, 15),
    receive_window_bits=st.integers(9, 15),
    send_context=st.booleans(),
    receive_context=st.booleans(),
    fallback=st.booleans(),
    level=st.integers(1, 9),
)
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.sampled_from([b"", b"tick " * 2000, bytes(range(256)) * 50]),
    ),
    max_size=8,
)


def test_a_fallback_is_for_servers_that_want_no_context():
    config = DeflateConfig(fallback=True)
    first, second = offer(config).split(", ")

    assert first == offer(DeflateConfig())
    assert second == offer(DeflateConfig(send_context=False))
    assert offer(DeflateConfig(fallback=True, send_context=False)) == second
    answer, _ = accept_offer(offer(config), DeflateConfig())
    assert answer == "permessage-deflate"
    for taken in (first, second):
        answer, servers = accept_offer(taken, DeflateConfig())
        clients = check_answer(answer, config)
        for message in (b"tick " * 100, b"tick " * 100):
            packed = clients.compress(message, fin=True)
            assert servers.expand(packed, BIG, fin=True) == message
    assert "send_context=False" in repr(clients)


# -- codec -----------------------------------------------------------------------------


@given(client=CONFIGS, server=CONFIGS, messages=MESSAGES, pieces=st.integers(1, 4))
def test_whatever_is_agreed_messages_survive_both_ways(
    client, server, messages, pieces
):
    ours, theirs = agreed(client, server)
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for message in messages:
            step = len(message) // pieces + 1
            parts = [message[i : i + step] for i in range(0, len(message), step)]
            parts = parts or [b""]
            got = b""
            for place, part in enumerate(parts):
                fin = place == len(parts) - 1
                expanded = receiver.expand(sender.compress(part, fin=fin), BIG, fin=fin)
                assert isinstance(expanded, bytes)
                got += expanded
            assert got == message


# RFC 7692 §7.2.3; two messages where the second needs the first's window.
EXAMPLES = {
    "one block": ["f248cdc9c90700"],
    "sharing the window": ["f248cdc9c90700", "f200110000"],
    "no compression": ["000500faff48656c6c6f00"],
    "final block": ["f348cdc9c9070000"],
    "final block, then another message": ["f348cdc9c9070000", "f248cdc9c90700"],
    "two blocks": ["f248050000 00ffffcac9c90700"],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rfc_examples_say_hello(name):
    codec = Deflate(PLAIN)

    for example in EXAMPLES[name]:
        assert codec.expand(bytes.fromhex(example), 5, fin=True) == b"Hello"


def test_a_final_block_without_its_filling_ends_the_message_too():
    codec = Deflate(PLAIN)

    assert codec.expand(bytes.fromhex("f348cdc9c90700"), 5, fin=True) == b"Hello"
    assert codec.expand(bytes.fromhex("f248cdc9c90700"), 5, fin=True) == b"Hello"


def test_a_message_may_go_on_behind_a_final_block():
    first = zlib.compressobj(wbits=-15)
    second = zlib.compressobj(wbits=-15)
    data = first.compress(b"one ") + first.flush(zlib.Z_FINISH)
    data += second.compress(b"two") + second.flush(zlib.Z_SYNC_FLUSH)

    assert Deflate(PLAIN).expand(data[:-4], BIG, fin=True) == b"one two"


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_the_limit_is_exact(size):
    data = Deflate(PLAIN).compress(bytes(size + 1), fin=True)

    assert Deflate(PLAIN).expand(data, size + 1, fin=True) == bytes(size + 1)
    fault = Deflate(PLAIN).expand(data, size, fin=True)
    assert isinstance(fault, Fault)
    assert fault.code == 1009


def test_a_bomb_is_not_expanded_beyond_the_limit():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64))
    data += bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 100_000

    codec = Deflate(PLAIN)
    tracemalloc.start()
    try:
        fault = codec.expand(data, 4096, fin=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(fault, Fault)
    assert fault.code == 1009
    assert peak < 1 << 20


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x07", b"not deflate at all"])
def test_other_data_is_a_fault(data):
    fault = Deflate(PLAIN).expand(data, BIG, fin=True)

    assert isinstance(fault, Fault)
    assert fault.code == 1007


def test_a_reference_into_a_forgotten_window_is_a_fault_not_a_wrong_text():
    sender = Deflate(PLAIN)
    forgetful = Deflate(PLAIN, receive_context=False)
    text = b"the same words again and again"
    first, second = (sender.compress(text, fin=True) for _ in range(2))

    assert forgetful.expand(first, BIG, fin=True) == text
    assert isinstance(forgetful.expand(second, BIG, fin=True), Fault)


def test_repeated_messages_shrink_with_a_window_and_not_without():
    text = bytes(range(200))
    with_window, without = Deflate(PLAIN), Deflate(PLAIN, send_context=False)
    sizes = [
        [len(codec.compress(text, fin=True)) for _ in range(2)]
        for codec in (with_window, without)
    ]

    assert sizes[0][1] < sizes[0][0] / 4
    assert sizes[1][1] == sizes[1][0]


def test_the_first_piece_decides_for_its_message():
    codec = Deflate(DeflateConfig(threshold=10))

    assert not codec.takes(b"short", first=True)
    assert not codec.takes(bytes(100), first=False)
    assert codec.takes(bytes(10), first=True)
    assert codec.takes(b"", first=False)
    assert not Deflate(PLAIN, send_bits=0).takes(bytes(100), first=True)


# -- negotiation -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PLAIN, "permessage-deflate; client_max_window_bits"),
        (
            DeflateConfig(send_context=False, receive_context=False),
            "permessage-deflate; server_no_context_takeover; "
            "client_no_context_takeover; client_max_window_bits",
        ),
        (
            DeflateConfig(send_window_bits=10, receive_window_bits=9),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
    ],
)
def test_the_offer_says_what_is_wanted(config, expected):
    assert offer(config) == expected


@pytest.mark.parametrize(
    ("offered", "config", "answer"),
    [
        ("permessage-deflate", PLAIN, "permessage-deflate"),
        ("Permessage-Deflate; client_max_window_bits", PLAIN, "permessage-deflate"),
        (
            "permessage-deflate; server_no_context_takeover",
            PLAIN,
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            PLAIN,
            "permessage-deflate; client_no_context_takeover",
        ),
        (
            'permessage-deflate; server_max_window_bits="10"',
            PLAIN,
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits",
            DeflateConfig(receive_window_bits=12),
            "permessage-deflate; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; client_max_window_bits=10",
            DeflateConfig(receive_window_bits=12),
            "permessage-deflate; client_max_window_bits=10",
        ),
        # A client that did not name the parameter cannot be told a number.
        (
            "permessage-deflate",
            DeflateConfig(receive_window_bits=12),
            "permessage-deflate",
        ),
        # The first offer that can be met.
        (
            "x-other, permessage-deflate; server_max_window_bits=8, "
            "permessage-deflate; server_max_window_bits=11, permessage-deflate",
            PLAIN,
            "permessage-deflate; server_max_window_bits=11",
        ),
    ],
)
def test_a_server_answers_the_first_offer_it_can_meet(offered, config, answer):
    accepted = accept_offer(offered, config)

    assert accepted is not None
    assert accepted[0] == answer


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
    ],
)
def test_a_server_declines_what_it_cannot_meet(offered):
    assert accept_offer(offered, PLAIN) is None


def test_a_client_takes_declining_for_no_compression():
    assert check_answer("", PLAIN) is None


@pytest.mark.parametrize(
    ("answer", "config"),
    [
        ("x-other", PLAIN),
        ("permessage-deflate, permessage-deflate", PLAIN),
        ("permessage-deflate; foo=1", PLAIN),
        ("permessage-deflate; client_max_window_bits", PLAIN),
        ("permessage-deflate", DeflateConfig(receive_window_bits=10)),
        (
            "permessage-deflate; server_max_window_bits=11",
            DeflateConfig(receive_window_bits=10),
        ),
        ("permessage-deflate", DeflateConfig(receive_context=False)),
    ],
)
def test_a_client_refuses_an_answer_to_something_else(answer, config):
    with pytest.raises(ValueError, match="extensions"):
        check_answer(answer, config)


def test_a_client_that_may_use_no_more_than_256_bytes_sends_uncompressed():
    codec = check_answer("permessage-deflate; client_max_window_bits=8", PLAIN)

    assert codec is not None
    assert not codec.takes(bytes(1000), first=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"send_window_bits": 8},
        {"send_window_bits": 16},
        {"receive_window_bits": 7},
        {"level": 0},
    ],
)
def test_settings_outside_zlibs_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeflateConfig(**wrong)


def test_an_offer_that_names_the_largest_window_is_answered_by_naming_it():
    """RFC 7692 §7.1.2.1: a server accepts the parameter by including it."""
    accepted = accept_offer(
        "permessage-deflate; server_max_window_bits=15", DeflateConfig()
    )

    assert accepted is not None
    assert accepted[0] == "permessage-deflate; server_max_window_bits=15"
