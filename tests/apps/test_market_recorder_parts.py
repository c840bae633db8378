"""Options of market-recorder and what it shows, without starting a process.

What a folder holds and how it is played is `integration`'s (tests/integration).
"""

import gzip
import io
import json
from pathlib import Path

import pytest
import trio

pytest.importorskip("trio_websocket")
cyclopts = pytest.importorskip("cyclopts")

from integration.models import ExchangeId, Subscription  # noqa: E402 - after the checks
from integration.recording import (  # noqa: E402
    HTTP_JOURNAL,
    Manifest,
    RecordingFault,
    RecordingFolder,
)
from integration.replay import replay_session  # noqa: E402
from integration.testing import SimulatedExchange, SyntheticMarket  # noqa: E402
from market_recorder.cli import app  # noqa: E402
from market_recorder.record import OptionError, RecordOptions, record  # noqa: E402
from market_recorder.show import export, play  # noqa: E402

SECOND = 1_000_000_000
GUARD_SECONDS = 300  # against hanging; nothing asserts a duration


def manifest(exchange="binance_spot"):
    (first, *_) = RecordOptions(out=Path()).subscriptions()
    wanted = Subscription(ExchangeId(exchange), first.instrument, first.kind)
    return Manifest(subscriptions=(wanted,), started_ns=1)


@pytest.fixture
async def folder(tmp_path):
    """Five seconds of one instrument, recorded in this process."""
    folder, stop = tmp_path / "recording", trio.Event()
    async with (
        SimulatedExchange(SyntheticMarket(4)) as sim,
        trio.open_nursery() as nursery,
    ):
        options = RecordOptions(
            out=folder, websocket_url=sim.websocket_url, rest_url=sim.rest_url
        )
        nursery.start_soon(record, options, stop)
        with trio.fail_after(GUARD_SECONDS):
            await sim.wait_subscribed("btcusdt@depth@100ms")
            while not (folder / HTTP_JOURNAL).stat().st_size:
                await sim.advance(sim.time_ns + SECOND)
                await trio.testing.wait_all_tasks_blocked(0.01)
            await sim.advance(sim.time_ns + 4 * SECOND)
            await sim.drain()
            stop.set()  # what is under way is recorded before the goodbye
            await sim.wait_clients(0)
    return folder


async def test_playing_writes_every_event_once(folder):
    out = io.BytesIO()

    written = await play(folder, out)

    events = [json.loads(line) for line in out.getvalue().splitlines()]
    replay = replay_session(folder)
    assert written == len(events) == sum(len(moment.events) for moment in replay)
    assert {event["event"] for event in events} == {"public_trade", "l1", "l2"}
    assert all(event["exchange"] == "binance_spot" for event in events)
    assert replay.report.whole


async def test_playing_keeps_the_recorded_pace(folder, autojump_clock):
    times = [moment.time_ns for moment in replay_session(folder)]
    began = trio.current_time()

    await play(folder, io.BytesIO(), speed=0.5)

    took = (times[-1] - times[0]) / SECOND
    assert trio.current_time() - began == pytest.approx(2 * took)


async def test_exporting_twice_gives_equal_files(folder, tmp_path):
    paths = [tmp_path / "one.gz", tmp_path / "two.gz"]
    counts = [export(folder, path) for path in paths]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    lines = gzip.decompress(paths[0].read_bytes()).splitlines()
    times = [int(line.split(b" ", 1)[0]) for line in lines]
    assert counts == [len(lines)] * 2
    assert times == sorted(times)
    assert min(times) > 0
    (image,) = [line for line in lines if b'"btcusdt@snapshot"' in line]
    assert json.loads(image.split(b" ", 1)[1])["data"]["lastUpdateId"]


async def test_what_exists_is_not_overwritten(folder, tmp_path):
    (tmp_path / "taken").touch()

    with pytest.raises(RecordingFault, match="exists"):
        export(folder, tmp_path / "taken")


def test_another_venue_is_not_exported(tmp_path):
    RecordingFolder.create(tmp_path / "r", manifest("okx"))

    with pytest.raises(RecordingFault, match="okx"):
        export(tmp_path / "r", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("read", [export, lambda folder, _: replay(folder)])
async def test_a_damaged_session_is_named(folder, tmp_path, read):
    (pairs,) = folder.glob("*_inbound_seq.rec")
    pairs.write_bytes(pairs.read_bytes()[:-5])

    with pytest.raises(
        RecordingFault, match=pairs.name.removesuffix("_inbound_seq.rec")
    ):
        read(folder, tmp_path / "copy")


def replay(folder):
    for _ in replay_session(folder):
        pass


def test_failed_responses_are_not_exported(tmp_path):
    RecordingFolder.create(tmp_path / "r", manifest())
    entry = {"time_ns": 5, "url": "http://x/d?symbol=A", "status": 429, "body": "{}"}
    (tmp_path / "r" / HTTP_JOURNAL).write_text(json.dumps(entry) + "\n")

    assert export(tmp_path / "r", tmp_path / "copy") == 0


# ---- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exchange": "mtgox"}, "mtgox"),
        ({"exchange": "poloniex"}, "poloniex"),
        ({"instruments": ("btcusdt",)}, "btcusdt"),
        ({"instruments": ("btc_",)}, "quote"),
        ({"kinds": ("trades",)}, "trades"),
        ({"duration": 0.0}, "--duration"),
        ({"tls_ca": Path("/none")}, "/none"),
        ({"kinds": ("liquidations",)}, "liquidations"),
    ],
)
async def test_options_that_cannot_be_used_are_named(tmp_path, options, said):
    with pytest.raises(OptionError) as refused:
        await record(RecordOptions(out=tmp_path / "r", **options), trio.Event())

    assert said in str(refused.value)


def test_names_stand_for_instruments():
    options = RecordOptions(
        out=Path(),
        exchange="bybit_perpetuals_usd",
        instruments=("btc_usdt_perpetual",),
        kinds=("public_trades",),
    )

    (subscription,) = options.subscriptions()
    assert str(subscription.instrument) == "btc_usdt_perpetual"


@pytest.mark.parametrize(
    "tokens",
    [[], ["record"], ["inspect"], ["play", "x", "y", "z"], ["record", "--nope"]],
)
def test_what_does_not_parse_is_a_usage_error(tokens, capsys):
    if not tokens:
        app(tokens, exit_on_error=False, print_error=False)
        assert "Usage" in capsys.readouterr().out
        return
    with pytest.raises(cyclopts.CycloptsError):
        app(tokens, exit_on_error=False, print_error=False)
