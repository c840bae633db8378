"""The adapters on what is odd and legal, and on what is neither."""

import importlib.util
import json
import subprocess
import sys
import zlib
from decimal import Decimal
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).resolve().parents[1] / "adapters"
TRADE = '{"e":"trade","E":1,"s":"BTCUSDT","t":12,"p":"%s","q":"%s","T":1,"m":true}'


def adapter(name):
    spec = importlib.util.spec_from_file_location(name, ADAPTERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parse():
    return adapter("parse_recorded").parse


# parse_recorded


@pytest.mark.parametrize("spelled", ["0.00000001", "1E-8", "1e-8"])
def test_small_numbers_are_written_with_digits(parse, spelled):
    (trade,) = parse("BINANCE", TRADE % (spelled, "1e2"))

    assert (trade["price"], trade["amount"]) == ("0.00000001", "100")


@pytest.mark.parametrize(
    ("exchange", "line", "price", "amount"),
    [
        ("BITFINEX", '[1,"te",[5,1600000000000,-1e-05,1.5e4]]', "15000", "0.00001"),
        (
            "KRAKEN_V2",
            '{"channel":"trade","type":"update","data":[{"symbol":"A/USD",'
            '"side":"buy","price":1e-05,"qty":4.0E+2,"ord_type":"market",'
            '"trade_id":4,"timestamp":"2023-09-25T07:49:36.925533Z"}]}',
            "0.00001",
            "400",
        ),
        (
            "GATEIO_FUTURES",
            '{"channel":"futures.trades","event":"update","result":[{"id":1,'
            '"create_time_ms":1,"contract":"A_B","size":-1e2,"price":"1e-8"}]}',
            "0.00000001",
            "100",
        ),
    ],
)
def test_exponents_of_the_wire_are_read(parse, exchange, line, price, amount):
    (trade,) = parse(exchange, line)

    assert (trade["price"], trade["amount"]) == (price, amount)


@pytest.mark.parametrize("around", ["%s\r\n", "%s\n", "  %s ", "\t%s\r"])
def test_white_space_around_a_line_means_nothing(parse, around):
    assert parse("BINANCE", around % (TRADE % ("1", "1")))


@pytest.mark.parametrize(
    ("exchange", "line"),
    [
        ("BINANCE", ""),
        ("BINANCE", "\r\n"),
        ("BINANCE", (TRADE % ("1", "1"))[:40]),
        ("BINANCE", TRADE % ("-1", "1")),
        ("BINANCE", TRADE % ("NaN", "1")),
        ("BITFINEX", '[10961,"cs",[[]]]'),
        ("BITFINEX", '[10961,"cs",null]'),
        ("BITFINEX", '[10961,"cs",1.5]'),
        ("MTGOX", "{}"),
        ("", "{}"),
    ],
)
def test_what_is_no_line_of_the_exchange_is_a_value_error(parse, exchange, line):
    with pytest.raises(ValueError, match=r"\S"):
        parse(exchange, line)


# binance_book


def test_lines_that_are_nothing_leave_the_book_alone():
    book = adapter("binance_book").Book("spot")

    for raw in (b"", b"{", b"\r\n", b"null", b"[]", b'{"lastUpdateId":1,"bids":[["'):
        book.feed(1, raw)

    assert book.top() == (None, None, None, None)
    assert (book.trades(), book.last_update()) == ((0, Decimal(0)), None)


def test_an_image_is_one_wherever_its_id_stands_and_however_lines_end():
    book = adapter("binance_book").Book("spot")

    book.feed(1, b'{"bids":[["1e2","1"]],"asks":[["101","2"]],"lastUpdateId":20}\r\n')
    book.feed(
        2, b'{"e":"depthUpdate","E":1,"s":"X","U":21,"u":22,"b":[["99","1"]],"a":[]}\r'
    )

    assert book.top() == (100, 1, 101, 2)
    assert book.last_update() == 22


def test_a_book_of_an_unknown_kind_is_a_value_error():
    with pytest.raises(ValueError, match="spot, usdm, cm"):
        adapter("binance_book").Book("margin")


# replay_book


def replay(*arguments):
    return subprocess.run(  # noqa: S603  our own interpreter and program
        [sys.executable, str(ADAPTERS / "replay_book.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_session_without_messages_ends_with_an_empty_book(tmp_path):
    file = tmp_path / "empty.json"
    file.write_text('{"exchange":"okx","symbol":"BTC-USDT","messages":[]}')

    run = replay(str(file))

    assert (run.returncode, run.stderr) == (0, "")
    (final,) = map(json.loads, run.stdout.splitlines())
    assert final["final"]["bids_top"] == final["final"]["asks_top"] == []
    assert final["final"]["sequence"] is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "JSONDecodeError"),
        ('{"exchange":"okx"', "JSONDecodeError"),
        ('{"exchange":"mtgox","symbol":"X","messages":[]}', "mtgox"),
        ('{"exchange":"kucoin","symbol":"X","messages":[]}', "known are"),
        ("[]", "TypeError"),
    ],
)
def test_a_file_that_is_no_session_is_told_of_in_one_line(tmp_path, text, told):
    file = tmp_path / "odd.json"
    file.write_text(text)

    run = replay(str(file))

    assert (run.returncode, run.stdout) == (1, "")
    assert told in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_told_of(tmp_path):
    run = replay(str(tmp_path / "nothing.json"))

    assert run.returncode == 1
    assert "FileNotFoundError" in run.stderr
    assert replay().returncode == 2


def test_a_checksum_that_fails_is_a_gap_at_its_own_line(tmp_path):
    def message(action, bid, checksum):
        depth = {
            "bids": [[bid, "1", "0", "1"]],
            "asks": [["101", "1", "0", "1"]],
            "ts": "1",
            "checksum": checksum,
        }
        arg = {"channel": "books", "instId": "BTC-USDT"}
        return {
            "t": 1.0,
            "transport": "ws",
            "raw": {"arg": arg, "action": action, "data": [depth]},
        }

    def crc(bids):
        text = ":".join(
            f"{bid}:1:101:1" if i == 0 else f"{bid}:1" for i, bid in enumerate(bids)
        )
        unsigned = zlib.crc32(text.encode())
        return unsigned - (1 << 32 if unsigned >> 31 else 0)

    session = {
        "exchange": "okx",
        "symbol": "BTC-USDT",
        "messages": [
            message("snapshot", "98", crc(["98"])),
            message("update", "99", crc(["99", "98"])),
            message("update", "100", crc(["100", "99.5", "99", "98"])),
            message("update", "100", 1),
        ],
    }
    file = tmp_path / "session.json"
    file.write_text(json.dumps(session))

    lines = [json.loads(line) for line in replay(str(file)).stdout.splitlines()]

    outcomes = [line.get("outcome") for line in lines[:-1]]
    assert outcomes == ["snapshot", "apply", "gap", "drop"]


# sign


@pytest.mark.parametrize("exchange", ["mtgox", "", None])
def test_an_exchange_without_a_recipe_is_a_value_error(exchange):
    case = {
        "exchange": exchange,
        "method": "GET",
        "path": "/x",
        "ts_ms": 1,
        "key": "k",
        "secret": "s",
    }

    with pytest.raises(ValueError, match="no recipe is known"):
        adapter("sign").sign(case)


def test_what_a_case_leaves_out_and_how_it_spells_are_the_suites_business():
    case = {
        "exchange": "BINANCE",
        "method": "get",
        "path": "order",
        "ts_ms": "1700000000000",
        "key": "k",
        "secret": "s",
        "params": {"q": "é 1+2", "flag": True, "none": None, "small": 1e-8},
    }

    signed = adapter("sign").sign(case)

    assert signed["url"].startswith(
        "https://api.binance.com/api/v3/order?q=%C3%A9+1%2B2&flag=true"
        "&small=0.00000001&recvWindow=5000&timestamp=1700000000000&signature="
    )
    assert signed["body"] is None
