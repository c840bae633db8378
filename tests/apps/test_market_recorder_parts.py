"""Recordings and options of market-recorder, without starting a process."""

import gzip
import io
import json
from pathlib import Path

import pytest
import trio

pytest.importorskip("trio_websocket")
cyclopts = pytest.importorskip("cyclopts")

from integration.models import ExchangeId  # noqa: E402 - after the checks above
from integration.testing import SimulatedExchange, SyntheticMarket  # noqa: E402
from market_recorder.archive import (  # noqa: E402
    Archive,
    ArchiveError,
    HttpEntry,
    Manifest,
    Message,
)
from market_recorder.cli import app  # noqa: E402
from market_recorder.record import OptionError, RecordOptions, record  # noqa: E402
from market_recorder.replay import events, export, play, summarise  # noqa: E402

SECOND = 1_000_000_000


def manifest(exchange="binance_spot"):
    return Manifest(
        exchange=ExchangeId(exchange),
        subscriptions=RecordOptions(out=Path()).subscriptions(),
        started_ns=1,
    )


@pytest.fixture
async def archive(tmp_path):
    """Five seconds of one instrument, recorded in this process."""
    folder = tmp_path / "recording"
    stop = trio.Event()
    async with (
        SimulatedExchange(SyntheticMarket(4)) as sim,
        trio.open_nursery() as nursery,
    ):
        options = RecordOptions(
            out=folder, websocket_url=sim.websocket_url, rest_url=sim.rest_url
        )
        nursery.start_soon(record, options, stop)
        with trio.fail_after(30):
            await sim.wait_subscribed("btcusdt@depth@100ms")
            while not sim.stats.requests:
                await sim.advance(sim.time_ns + SECOND)
                await trio.testing.wait_all_tasks_blocked(0.01)
        await sim.advance(sim.time_ns + 4 * SECOND)
        await sim.drain()
        await trio.testing.wait_all_tasks_blocked(0.05)
        stop.set()
        with trio.fail_after(30):
            await sim.wait_clients(0)
    return Archive(folder)


# ---- recordings


async def test_messages_come_in_the_order_of_time(archive):
    messages = list(archive.messages())

    times = [message.time_ns for message in messages]
    assert times == sorted(times)
    assert {m.session for m in messages} == {"http", *archive.sessions}
    (image,) = [m for m in messages if m.session == "http"]
    assert image.symbol == "BTCUSDT"
    assert json.loads(image.payload)["lastUpdateId"]
    assert json.loads(messages[0].payload) == {"result": None, "id": 1}


async def test_a_summary_counts_and_ends_with_a_live_book(archive):
    summary = summarise(archive)

    assert summary.complete
    assert summary.events["public_trade"] > 0
    assert summary.events["l2"] > 30
    assert summary.http == {"200": 1}
    (book,) = summary.books
    assert book.state == "live"
    assert float(book.best_bid) < float(book.best_ask)
    last = max(
        json.loads(m.payload).get("u", 0)
        for m in archive.messages()
        if b"depthUpdate" in m.payload
    )
    assert book.sequence == last


async def test_playing_writes_every_event_once(archive):
    out = io.BytesIO()

    written = await play(archive, out)

    lines = out.getvalue().splitlines()
    assert written == len(lines) == sum(len(found) for _, found in events(archive))
    assert all(json.loads(line)["exchange"] == "binance_spot" for line in lines)


async def test_playing_keeps_the_recorded_pace(archive, autojump_clock):
    messages = list(archive.messages())
    took = (messages[-1].time_ns - messages[0].time_ns) / SECOND
    began = trio.current_time()

    await play(archive, io.BytesIO(), speed=0.5)

    assert trio.current_time() - began == pytest.approx(2 * took)


@pytest.mark.parametrize("speed", [-1.0, float("nan")])
async def test_a_speed_that_is_none_is_refused(archive, speed):
    with pytest.raises(ValueError, match="speed"):
        await play(archive, io.BytesIO(), speed=speed)


async def test_exporting_twice_gives_equal_files(archive, tmp_path):
    paths = [tmp_path / "one.gz", tmp_path / "two.gz"]
    for path in paths:
        assert export(archive, path) == len(list(archive.messages()))

    assert paths[0].read_bytes() == paths[1].read_bytes()
    lines = gzip.decompress(paths[0].read_bytes()).splitlines()
    assert all(int(line.split(b" ", 1)[0]) > 0 for line in lines)
    assert sum(b'"btcusdt@snapshot"' in line for line in lines) == 1


async def test_what_exists_is_not_overwritten(archive, tmp_path):
    (tmp_path / "taken").touch()

    with pytest.raises(ArchiveError, match="exists"):
        export(archive, tmp_path / "taken")


def test_another_venue_is_not_exported(tmp_path):
    other = Archive.create(tmp_path / "r", manifest("okx"))

    with pytest.raises(ArchiveError, match="okx"):
        export(other, tmp_path / "copy")


async def test_a_damaged_session_is_named(archive):
    (session,) = archive.sessions
    pairs = archive.folder / f"{session}_inbound_seq.rec"
    pairs.write_bytes(pairs.read_bytes()[:-5])

    with pytest.raises(ArchiveError, match=session):
        list(archive.messages())


async def test_a_damaged_journal_is_named(archive):
    with (archive.folder / "http.jsonl").open("ab") as file:
        file.write(b"{\n")

    with pytest.raises(ArchiveError, match=r"http\.jsonl, line 2"):
        list(archive.messages())


async def test_an_attempt_that_never_connected_is_an_empty_session(archive):
    for part in ("inbound", "inbound_seq", "inbound_time", "outbound"):
        (archive.folder / f"binance_spot-0-0000_{part}.rec").touch()

    assert summarise(archive).sessions["binance_spot-0-0000"] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"{", "recording.json"), (b'{"version":1}', "exchange")],
)
def test_a_folder_without_a_manifest_is_no_recording(tmp_path, content, said):
    if content is not None:
        (tmp_path / "recording.json").write_bytes(content)

    with pytest.raises(ArchiveError, match=said):
        Archive(tmp_path)


def test_a_folder_in_use_is_not_recorded_into(tmp_path):
    Archive.create(tmp_path / "new" / "folder", manifest())

    with pytest.raises(ArchiveError, match="not empty"):
        Archive.create(tmp_path / "new" / "folder", manifest())
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="file"):
        Archive.create(tmp_path / "file", manifest())


def test_a_run_that_was_cut_off_is_told(tmp_path):
    archive = Archive.create(tmp_path / "r", manifest())
    assert not summarise(archive).complete
    assert summarise(archive).started_ns is None

    archive.finish(77)

    assert Archive(tmp_path / "r").manifest.ended_ns == 77
    assert summarise(archive).complete


def test_failed_responses_are_counted_but_not_played(tmp_path):
    archive = Archive.create(tmp_path / "r", manifest())
    entry = {"time_ns": 5, "url": "http://x/d?symbol=A", "status": 429, "body": "{}"}
    (tmp_path / "r" / "http.jsonl").write_text(json.dumps(entry) + "\n")

    assert list(archive.messages()) == []
    assert summarise(archive).http == {"429": 1}


def test_the_symbol_of_a_response_is_in_its_url():
    def symbol(url):
        return HttpEntry(time_ns=1, url=url, status=200, body="").symbol

    assert symbol("http://x/depth?limit=5&symbol=BTCUSDT") == "BTCUSDT"
    assert symbol("http://x/book?currency_pair=BTC_USDT") == "BTC_USDT"
    assert symbol("http://x/time") is None


async def test_an_image_before_any_session_is_let_pass(tmp_path):
    archive = Archive.create(tmp_path / "r", manifest())
    entry = {"time_ns": 5, "url": "http://x/d?symbol=A", "status": 200, "body": "{}"}
    (tmp_path / "r" / "http.jsonl").write_text(json.dumps(entry) + "\n")

    assert list(events(archive)) == [(Message(5, "http", b"{}", "A"), [])]


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
