import json
import re
import signal
import subprocess
import sys
import threading
from decimal import Decimal

import msgspec
import pytest
import trio

from integration.cli import main, parse_target
from integration.cli.output import event_json, event_text
from integration.cli.shell import parser
from integration.cli.targets import parse_kind
from integration.errors import DataError
from integration.models import (
    AmountUnit,
    ExchangeId,
    FundingRate,
    IndexPrice,
    Level,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    PublicTrade,
    Side,
    SubKind,
)
from integration.replay import replay_session
from integration.testing import SimulatedExchange, SyntheticMarket


@pytest.mark.parametrize(
    ("text", "exchange", "instrument", "kind"),
    [
        ("okx:btc/usdt", "okx", MarketDataInstrument.spot("btc", "usdt"), "trades"),
        ("okx:btc/usdt.spot:l1", "okx", MarketDataInstrument.spot("btc", "usdt"), "l1"),
        (
            "binance_futures_usd:btc/usdt.perpetual:l2",
            "binance_futures_usd",
            MarketDataInstrument.perpetual("btc", "usdt"),
            "l2",
        ),
        (
            "deribit:BTC-PERPETUAL",
            "deribit",
            MarketDataInstrument.perpetual("btc", "usd"),
            "trades",
        ),
        (
            "kraken:XBT/USD:order_books_l1",
            "kraken",
            MarketDataInstrument.spot("xbt", "usd"),
            "l1",
        ),
    ],
)
def test_targets_name_exchange_instrument_and_kind(text, exchange, instrument, kind):
    kinds = {
        "trades": SubKind.PUBLIC_TRADES,
        "l1": SubKind.ORDER_BOOKS_L1,
        "l2": SubKind.ORDER_BOOKS_L2,
    }

    target = parse_target(text)

    assert (target.exchange, target.instrument) == (exchange, instrument)
    assert target.kind is kinds[kind]


@pytest.mark.parametrize(
    "text",
    [
        *("", "okx", "okx:", "okx:btc/usdt:", "mtgox:btc/usd", "okx:btc/usdt:gossip"),
        *("okx:a/b.option", "okx:BTC-USDT:gossip", "bitfinex:tBTCUSD:gossip"),
    ],
)
def test_a_target_that_names_nothing_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_target(text)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("", SubKind.PUBLIC_TRADES), (":l2", SubKind.ORDER_BOOKS_L2)],
)
def test_a_symbol_may_have_a_colon_of_its_own(kind, expected):
    target = parse_target(f"bitfinex:tBTCF0:USTF0{kind}")

    assert target.instrument == MarketDataInstrument.perpetual("btc", "ust")
    assert target.kind is expected


def test_a_symbol_that_is_not_the_venues_is_refused():
    with pytest.raises(DataError):
        parse_target("okx:NOTHING")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PublicTrade("1", Decimal("1E-8"), Decimal(100), Side.BUY), "100 @ 0.00000001"),
        (MarkPrice(Decimal("0.00000001")), "mark_price: 0.00000001"),
        (IndexPrice(Decimal("1E+2")), "index_price: 100"),
        (FundingRate(Decimal("-1E-7")), "funding_rate: -0.0000001"),
        (OpenInterest(Decimal("1E+3"), AmountUnit.CONTRACT), ": 1000 contract"),
        (OrderBookL1(1, Level(Decimal("1E-8"), Decimal(1)), None), "0.00000001 | -"),
    ],
)
def test_numbers_are_written_with_digits_for_people_and_programs(kind, text):
    event = MarketEvent(1, 2, ExchangeId.OKX, MarketDataInstrument.spot("a", "b"), kind)

    assert text in event_text(event)
    written = msgspec.json.encode(event_json(event)).decode()
    assert re.search(r"\dE[+-]?\d", written) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("funding", SubKind.FUNDING_RATES),
        ("mark", SubKind.MARK_PRICES),
        ("index", SubKind.INDEX_PRICES),
        ("oi", SubKind.OPEN_INTEREST),
        ("liquidations", SubKind.LIQUIDATIONS),
    ],
)
def test_kinds_have_short_names(name, kind):
    assert parse_kind(name) is kind


def test_venues_are_listed_as_json_into_a_pipe(capsys):
    assert main(["venues"]) == 0

    rows = {
        row["exchange"]: row
        for row in map(json.loads, capsys.readouterr().out.splitlines())
    }
    assert len(rows) >= 20
    assert rows["kraken"]["checksum"] is True
    assert rows["binance_spot"]["images"] == "http"
    assert "liquidations" in rows["binance_futures_usd"]["kinds"]
    assert "candles" in rows["coinbase_advanced"]["kinds"]


def test_venues_are_listed_for_people_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert main(["venues"]) == 0

    assert "okx                    previous_sequence" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["watch", "mtgox:btc/usd"], "mtgox"),
        (["watch", "okx:btc/usdt", "--websocket-url", "nonsense"], "EXCHANGE=URL"),
        (["book", "okx:btc/usdt:trades"], "order_books_l2"),
    ],
)
def test_a_misspelt_command_exits_with_two(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_command_exits_with_two(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["gossip"])

    assert caught.value.code == 2
    assert "gossip" in capsys.readouterr().err


def test_a_venue_that_is_not_there_exits_with_one(capsys):
    code = main(["watch", "okx:btc/usdt", "--websocket-url", "okx=ws://127.0.0.1:9/"])

    assert code == 1
    assert "127.0.0.1" in capsys.readouterr().err


@pytest.fixture
def simulator():
    """A simulated venue in a thread of its own: the commands run their own trio."""
    ready, urls, token = threading.Event(), {}, []
    stop = trio.Event()

    async def serve():
        token.append(trio.lowlevel.current_trio_token())
        async with SimulatedExchange(SyntheticMarket(7)) as sim:
            urls.update(ws=sim.websocket_url, rest=sim.rest_url)
            ready.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sim.run)
                await stop.wait()
                nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(120)
    yield [
        *("--websocket-url", f"binance_spot={urls['ws']}"),
        *("--rest-url", f"binance_spot={urls['rest']}"),
    ]
    trio.from_thread.run_sync(stop.set, trio_token=token[0])
    thread.join(120)
    assert not thread.is_alive()


def test_watching_prints_events_as_json_lines(capsys, simulator):
    targets = ["binance_spot:btc/usdt:l1", "binance_spot:btc/usdt"]

    assert main(["watch", *targets, "--count", "5", *simulator]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 5
    assert {line["event"] for line in lines} == {"MarketEvent"}
    assert all(line["instrument"]["base"] == "btc" for line in lines)


def test_a_second_line_is_enough_where_the_first_is_not_there(capsys, simulator):
    _, url, *rest = simulator
    urls = ["--websocket-url", "binance_spot=ws://127.0.0.1:9/"]
    urls += ["--lines", "2", "--line-url", url, *rest]

    assert main(["watch", "binance_spot:btc/usdt:l2", "--count", "3", *urls]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # Besides, perhaps, the word that the first one could not begin.
    assert {"MarketEvent"} <= {line["event"] for line in lines}


def test_a_line_too_many_exits_with_two(capsys):
    url = ["--line-url", "binance_spot=ws://127.0.0.1:9/"]

    assert main(["watch", "binance_spot:btc/usdt", *url]) == 2

    assert "but lines is 1: it has to be 2 at least" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--lines", "0"], ["--line-url", "ws://x"]])
def test_lines_that_are_no_lines_exit_with_two(capsys, wrong):
    try:
        code = main(["watch", "binance_spot:btc/usdt", *wrong])
    except SystemExit as left:
        code = left.code

    assert code == 2
    assert "above 0" in (err := capsys.readouterr().err) or "EXCHANGE=URL" in err


def test_watching_prints_lines_for_people_on_a_terminal(capsys, monkeypatch, simulator):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    targets = ["binance_spot:btc/usdt:l1", "binance_spot:btc/usdt:l2"]

    assert main(["watch", *targets, "--count", "8", *simulator]) == 0

    out = capsys.readouterr().out
    assert "binance_spot btc_usdt_spot l1: " in out


def test_a_book_is_printed_as_it_changes(capsys, simulator, tmp_path):
    command = ["book", "binance_spot:btc/usdt", "--count", "2", "--depth", "3"]

    assert main([*command, "--record", str(tmp_path), *simulator]) == 0

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["state"] == second["state"] == "live"
    assert len(second["bids"]) == len(second["asks"]) == 3
    assert list(tmp_path.iterdir())


def test_a_book_is_drawn_on_a_terminal(capsys, monkeypatch, simulator):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert main(["book", "binance_spot:btc/usdt", "--count", "1", *simulator]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("binance_spot btc_usdt_spot live")
    assert len(lines) >= 11


COMMANDS = ("watch", "record", "replay", "book", "venues", "sign")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_shows_examples_that_can_be_parsed_and_the_exit_codes(
    capsys, command
):
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])

    assert left.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"^exit codes:\n +0 .*\n +1 .*\n +2 .*\n +130 ", text, re.M)
    examples = re.findall(r"^  integration ([^|\n]+)", text, re.M)
    assert examples
    for example in examples:
        parser().parse_args(re.sub(r"'([^']*)'", r"\1", example).split())


TARGETS = [f"binance_spot:btc/usdt:{kind}" for kind in ("trades", "l1", "l2")]


def test_what_is_recorded_is_replayed(capsys, simulator, tmp_path):
    folder = str(tmp_path / "run")
    record = ["record", *TARGETS, "--folder", folder, "--count", "60"]
    assert main([*record, *simulator]) == 0
    (recorded,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert recorded["event"] == "summary"
    assert recorded["sessions"] == 1
    assert recorded["bytes"] > 1000
    assert sum(recorded["events"].values()) >= 60

    assert main(["replay", folder, "--check"]) == 0

    *events, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert summary["event"] == "summary"
    assert summary["whole"] is True
    counts = recorded["events"]
    assert all(summary["events"][kind] >= n for kind, n in counts.items())
    assert len(events) == sum(summary["events"].values())
    (book,) = summary["books"]
    assert book["state"] == "live"
    assert book["best_bid"] is not None


def recorded(tmp_path, simulator, count=40):
    folder = tmp_path / "run"
    record = ["record", *TARGETS, "--folder", str(folder), "--count", str(count)]
    assert main([*record, *simulator]) == 0
    return folder


def test_a_replay_shows_the_kinds_that_are_wanted_and_the_tops(
    capsys, monkeypatch, simulator, tmp_path
):
    folder = recorded(tmp_path, simulator)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    assert main(["replay", str(folder), "--kind", "l1", "--speed", "1000"]) == 0

    lines = capsys.readouterr().out.splitlines()
    summary = next(i for i, line in enumerate(lines) if " messages in 1" in line)
    assert summary > 0
    assert all(" btc_usdt_spot l1: " in line for line in lines[:summary])
    assert re.fullmatch(
        r"  binance_spot btc_usdt_spot live \d+: [\d.]+ @ [\d.]+ \| .*", lines[-1]
    )


def test_a_replay_goes_on_into_a_file_and_tables(capsys, simulator, tmp_path):
    arrow = pytest.importorskip("pyarrow.parquet")
    folder, lines = recorded(tmp_path, simulator), tmp_path / "events.jsonl"
    capsys.readouterr()
    replay = ["replay", str(folder), "--quiet", "--sink"]

    assert main([*replay, f"jsonl:{lines}"]) == 0
    assert main([*replay, f"parquet:{tmp_path / 'tables'}"]) == 0

    summaries = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["event"] for row in summaries] == ["summary", "summary"]
    written = [json.loads(line) for line in lines.read_bytes().splitlines()]
    assert len(written) == sum(summaries[0]["events"].values())
    rows = sum(
        arrow.read_table(path).num_rows
        for path in (tmp_path / "tables").glob("*/*.parquet")
    )
    assert rows == len(written)
    assert main([*replay, f"jsonl:{lines}"]) == 2
    assert "exists" in capsys.readouterr().err.lower()


def test_a_replay_that_is_checked_fails_where_something_was_lost(
    capsys, simulator, tmp_path
):
    folder = recorded(tmp_path, simulator)
    replay_session(folder).folder.note(stopped_ns=None)

    assert main(["replay", str(folder), "--quiet"]) == 0
    assert main(["replay", str(folder), "--quiet", "--check"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["whole"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["replay", "nowhere"], 2, "not a recording"),
        (["record", "okx:btc/usdt", "--folder", "/"], 2, "is not empty"),
        (["record", "mtgox:btc/usd", "--folder", "x"], 2, "`integration venues`"),
        (["watch", "okx:btc/usdt:order_books_l3"], 2, "order_books_l3"),
        (["watch", "okx:NOTHING"], 2, "okx has no symbol 'NOTHING'"),
        (["watch", "okx:btc/usdt", "--websocket-url", "okx=http://x"], 2, "ws or wss"),
        (["watch", "okx:btc/usdt", "--websocket-url", "x=ws://x"], 2, "no exchange"),
        (["watch", "okx:btc/usdt", "--rest-url", "x=http://x"], 2, "no exchange"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(capsys, arguments, code, message):
    assert main(arguments) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("integration: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_recording_in_order(simulator, tmp_path, number):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "integration.cli", "record", *TARGETS]
    with subprocess.Popen(  # noqa: S603  our own interpreter and program
        [*command, "--folder", str(folder), *simulator],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "recording to" in process.stderr.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=120)

    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["event"] == "summary"
    replay = replay_session(folder)
    assert all(moment.events for moment in replay)
    assert replay.folder.manifest.stopped_ns is not None
    assert replay.report.outages == 0


def test_output_that_nobody_reads_any_more_is_no_fault(tmp_path):
    command = f"{sys.executable} -m integration.cli venues --json | head -n 1"

    done = subprocess.run(  # noqa: S602  our own words
        command, shell=True, capture_output=True, text=True, check=True
    )

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
