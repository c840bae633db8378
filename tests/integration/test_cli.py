import json
import threading

import pytest
import trio

from integration.cli import main, parse_target
from integration.errors import DataError
from integration.models import MarketDataInstrument, SubKind
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
    ["", "okx", "okx:", "mtgox:btc/usd", "okx:btc/usdt:gossip", "okx:a/b.option"],
)
def test_a_target_that_names_nothing_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_target(text)


def test_a_symbol_that_is_not_the_venues_is_refused():
    with pytest.raises(DataError):
        parse_target("okx:NOTHING")


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
    assert ready.wait(20)
    yield [
        *("--websocket-url", f"binance_spot={urls['ws']}"),
        *("--rest-url", f"binance_spot={urls['rest']}"),
    ]
    trio.from_thread.run_sync(stop.set, trio_token=token[0])
    thread.join(20)
    assert not thread.is_alive()


def test_watching_prints_events_as_json_lines(capsys, simulator):
    targets = ["binance_spot:btc/usdt:l1", "binance_spot:btc/usdt"]

    assert main(["watch", *targets, "--count", "5", *simulator]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 5
    assert {line["event"] for line in lines} == {"MarketEvent"}
    assert all(line["instrument"]["base"] == "btc" for line in lines)


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
