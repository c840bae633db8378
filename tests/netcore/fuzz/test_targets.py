"""The fuzz targets of `fuzz/`, bounded: seeds and seeded mutations of them, each time.

Longer runs are `python fuzz/run.py`'s. That a target can fail is shown by breaking its
parser.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import NetError
from netcore.fix import FixParser, rejects
from netcore.fix.outgoing import Outgoing
from netcore.http import HttpExchange, HttpServerConnection
from netcore.stream.tls import TlsStream
from netcore.ws import ClientHandshake, FrameReader, ServerHandshake, WsConnection
from netcore.ws.deflate import Deflate

FUZZ = Path(__file__).resolve().parents[3] / "fuzz"

sys.path.insert(0, str(FUZZ))
try:
    mutation = importlib.import_module("mutation")
    fuzz_targets = importlib.import_module("fuzz_targets")
finally:
    sys.path.remove(str(FUZZ))

TARGETS = fuzz_targets.TARGETS
EACH = pytest.mark.parametrize("name", TARGETS)
# Inputs per target and run; a TLS handshake takes a millisecond, others 0.1.
RUNS = 400


def inputs(name, count, *, seed):
    target = TARGETS[name]
    return mutation.mutants(target.seeds(), target.words, count, seed=seed)


@EACH
def test_no_input_breaks_it(name):
    for data in inputs(name, RUNS, seed=20_261_122):
        TARGETS[name].run(data)


@EACH
@given(data=st.binary(max_size=300))
def test_no_bytes_break_it(name, data):
    TARGETS[name].run(data)


@EACH
def test_the_same_seed_makes_the_same_inputs(name):
    assert list(inputs(name, 60, seed=3)) == list(inputs(name, 60, seed=3))


@EACH
def test_every_seed_differs_and_chooses_its_options(name):
    seeds = TARGETS[name].seeds()

    assert len(set(seeds)) == len(seeds) > 4
    assert all(len(seed) > 2 for seed in seeds)


# -- that they can fail ----------------------------------------------------------------


def raising(*_args, **_options):
    raise LookupError("broken on purpose")


def broken_feed(real):
    """Forget the last byte of every piece."""

    def feed(self, data, *rest):
        return real(self, data[:-1], *rest)

    return feed


def unlimited(real):
    """Take a limit for a wish."""

    def expand(self, payload, limit, *, fin):
        return real(self, payload, limit + 100_000, fin=fin)

    return expand


def quiet_end(real):
    """Take every failure for a clean end."""

    def receive(self, limit=65536, /):
        try:
            return real(self, limit)
        except NetError:
            return b""

    return receive


def mute(real):
    """Leave the field behind the header out."""

    def send(self, kind, body, now, **options):
        return real(self, kind, body[1:], now, **options)

    return send


BREAKS = {
    "frames lost at cuts": ("ws_frames", FrameReader, "feed", broken_feed),
    "the splitter raises": ("ws_connection", FrameReader, "_judge", lambda _: raising),
    "a conversation is cut": ("ws_connection", WsConnection, "feed", broken_feed),
    "an answer is cut": ("ws_client_handshake", ClientHandshake, "feed", broken_feed),
    "a request is cut": ("ws_server_handshake", ServerHandshake, "feed", broken_feed),
    "a bomb goes off": ("ws_deflate", Deflate, "expand", unlimited),
    "a response is cut": ("http_response", HttpExchange, "feed", broken_feed),
    "requests are cut": ("http_request", HttpServerConnection, "feed", broken_feed),
    "messages are cut": ("fix_parser", FixParser, "feed", broken_feed),
    "a field is left out": ("fix_session", Outgoing, "send", mute),
    "a reject raises": ("fix_session", rejects, "reject_body", lambda _: raising),
    "a cut looks complete": ("tls_records", TlsStream, "receive", quiet_end),
    "a URL raises": ("url", fuzz_targets.url, "parse_ws_url", lambda _: raising),
}


@pytest.mark.parametrize(("name", "where", "what", "how"), BREAKS.values(), ids=BREAKS)
def test_a_broken_parser_is_found(name, where, what, how, monkeypatch):
    monkeypatch.setattr(where, what, how(getattr(where, what)))

    with pytest.raises((fuzz_targets.Broken, LookupError)):
        play_all(name)


def play_all(name):
    for data in inputs(name, RUNS, seed=1):
        TARGETS[name].run(data)


# -- the program -----------------------------------------------------------------------


def play(*arguments, cwd):
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(FUZZ / "run.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        check=False,
    )


def test_the_program_says_what_it_did(tmp_path):
    done = play("url", "--mutate", "--runs", "200", "--seed", "7", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("url: 200 inputs by mutation, seed 7, ")
    assert list(tmp_path.iterdir()) == []


def test_the_program_plays_a_file(tmp_path):
    (tmp_path / "input").write_bytes(b"ws://h/")

    assert play("url", "--input", "input", cwd=tmp_path).returncode == 0


def test_the_program_knows_its_targets(tmp_path):
    done = play("nonsense", "--mutate", cwd=tmp_path)

    assert done.returncode == 2
    assert "ws_frames" in done.stdout
