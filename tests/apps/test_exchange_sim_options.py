"""Options of exchange-sim that cannot be used, without starting a process."""

from pathlib import Path

import pytest
import trio

pytest.importorskip("trio_websocket")
cyclopts = pytest.importorskip("cyclopts")

from exchange_sim.cli import app  # noqa: E402 - after the check that it can be had
from exchange_sim.run import OptionError, Options, run_exchange  # noqa: E402
from integration.errors import IntegrationError  # noqa: E402
from integration.testing.faults import FaultScriptError  # noqa: E402
from integration.testing.server import CannotListenError  # noqa: E402

NONE = Path("/no/such/folder/file")
DEPTH = (
    b'1 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,'
    b'"s":"BTCUSDT","U":2,"u":3,"b":[["100.0","1"]],"a":[]}}\n'
)


@pytest.mark.parametrize(
    "tokens",
    [
        ["--port", "eighty"],
        ["--speed", "fast"],
        ["--seed", "one"],
        ["--loop=maybe"],
        ["stray"],
        ["--nope"],
    ],
)
def test_what_does_not_parse_is_a_usage_error(tokens):
    with pytest.raises(cyclopts.CycloptsError):
        app(tokens, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 70_000}, "--port"),
        ({"port": -1}, "--port"),
        ({"speed": -1.0}, "--speed"),
        ({"speed": float("inf")}, "--speed"),
        ({"speed": float("nan")}, "--speed"),
        ({"symbols": ("NOPE",)}, "NOPE"),
        ({"symbols": ("BTCUSDT", "BTCUSDT")}, "distinct"),
        ({"loop": True}, "--recording"),
        ({"exit_at_end": True}, "--recording"),
        ({"recording": (NONE,), "seed": 1}, "--seed"),
        ({"recording": (NONE,), "loop": True, "exit_at_end": True}, "--exit-at-end"),
        ({"tls_cert": NONE}, "--tls-key"),
        ({"tls_cert": NONE, "tls_key": NONE}, str(NONE)),
        ({"tls_cert": NONE, "tls_key": NONE, "tls_ca": NONE}, "--tls-ca"),
        ({"tls_ca": NONE}, str(NONE)),
    ],
)
async def test_options_that_make_no_sense_are_named(options, said):
    with pytest.raises(OptionError) as refused:
        await run_exchange(Options(**{"port": 0, **options}), trio.Event())

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"dialect": "mtgox"}, IntegrationError, "mtgox"),
        ({"faults": NONE}, FaultScriptError, str(NONE)),
        ({"recording": (NONE,)}, IntegrationError, "No such file"),
        # An address of documentation (RFC 5737): never ours.
        ({"host": "192.0.2.1"}, CannotListenError, "192.0.2.1"),
    ],
)
async def test_what_the_world_refuses_is_named(options, kind, said):
    with pytest.raises(kind) as refused:
        await run_exchange(Options(**{"port": 0, **options}), trio.Event())

    assert said in str(refused.value)


async def test_a_typo_in_a_fault_script_is_named(tmp_path):
    script = tmp_path / "faults.json"
    script.write_text('[{"after_ms": 1, "fault": {"type": "gab", "symbol": "X"}}]')

    with pytest.raises(FaultScriptError, match="gab") as refused:
        await run_exchange(Options(port=0, faults=script), trio.Event())

    assert str(script) in str(refused.value)


async def test_a_stop_asked_for_early_is_obeyed(tmp_path):
    recording = tmp_path / "recording"
    recording.write_bytes(b'0 {"lastUpdateId":1,"bids":[],"asks":[]}\n' + DEPTH)
    stop = trio.Event()
    stop.set()

    with trio.fail_after(120):
        await run_exchange(Options(port=0, recording=(recording,)), stop)
        await run_exchange(Options(port=0), stop)
