"""Every example runs offline and against a given URL, and is interrupted cleanly.

Run in this process, with what it prints as the witness; once more as a program.
"""

import importlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "netcore"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
GUARD_SECONDS = 600  # against hanging; nothing asserts a duration

if not FOLDER.exists():
    pytest.skip("the examples are not beside the tests", allow_module_level=True)
# The venue that the examples talk to when they get no URL.
pytest.importorskip("integration.testing", reason="the examples' simulator is absent")
pytest.importorskip("trio_websocket", reason="what the simulator needs is absent")


@pytest.fixture(autouse=True)
def guard():
    def late(*_):
        raise AssertionError("the example never ends")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(GUARD_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def load():
    """Import an example as its own folder sees it."""
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module
    sys.path.remove(str(FOLDER))
    for name in [*NAMES, "_offline"]:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def venue(load):
    with load("_offline").local_venue() as venue:
        yield venue


@pytest.fixture(params=["offline", "url"])
def play(request, load, capsys):
    """Run an example with or without a URL and return the lines it printed."""

    def run(name, *options, url=lambda venue: f"{venue.websocket}/btcusdt@trade"):
        where = []
        if request.param == "url":
            where = [url(request.getfixturevalue("venue"))]
        code = load(name).main([*where, *options])
        lines = capsys.readouterr().out.splitlines()
        assert code == 0, lines
        return lines

    return run


def base(venue):
    return venue.websocket


TRADE = re.compile(r"^(BTC|ETH|SOL)USDT \d+\.\d+")


def trades(lines):
    return [line for line in lines if TRADE.match(line)]


def test_there_is_one_for_each_of_the_seeds_ten_and_one_for_trio():
    assert NAMES == [
        "async_dns",
        "auto_disconnect",
        "direct_selector",
        "http_single_connection",
        "polymorphic_endpoints",
        "record_and_replay",
        "service_with_context",
        "service_with_endpoints",
        "single_connection",
        "timer_endpoint",
        "trio_service",
    ]


def test_a_single_connection_prints_trades_and_ends(play):
    lines = play("single_connection", "--messages", "7")

    assert len(trades(lines)) == 7
    assert lines[-1] == "7 trades"


def test_a_service_keeps_three_endpoints(play):
    lines = play(
        "service_with_endpoints", "--messages", "3", "--interval", "0", url=base
    )

    opened = {line for line in lines if line.startswith("open:")}
    assert opened == {
        f"open: /ws/{symbol}@trade" for symbol in ("btcusdt", "ethusdt", "solusdt")
    }
    assert lines[-3:] == ["BTCUSDT: enough", "ETHUSDT: enough", "SOLUSDT: enough"]


def test_a_context_joins_what_two_streams_say(play):
    lines = play("service_with_context", "--messages", "20", url=base)

    assert "subscribed" in lines
    assert any("index" in line for line in trades(lines))
    assert lines[-1].startswith("index of 2 prices: ")


def test_connections_end_as_planned_unless_it_is_a_bad_moment(play):
    lines = play("auto_disconnect", "--messages", "1", "--ttl", "0.2")

    planned, postponed, handle = map(
        int,
        re.fullmatch(
            r"(\d+) planned ends, (\d+) postponed, one handle=(\d+)", lines[-1]
        ).groups(),
    )
    opened = [line for line in lines if line.startswith("connection ")]
    assert planned == lines.count("planned end") >= 3
    assert postponed == lines.count("postponed: an order is working")
    # Every connection but the first has an order working when its time is up; on a
    # stalled machine one may end before it is open.
    assert len(opened) - 2 <= postponed <= len(opened) - 1
    assert not [line for line in lines if line.startswith("unplanned")]
    assert handle == 1


def test_a_name_is_looked_up_beside_the_loop(play):
    lines = play("async_dns", "--messages", "3")

    tried = [line for line in lines if line.startswith("localhost is ")]
    assert tried[-1] == "localhost is 127.0.0.1"
    assert lines[-1] == "3 trades, no turn waited for a name"


def test_the_direct_selector_just_tries(play):
    lines = play("direct_selector", "--messages", "5")

    assert len(trades(lines)) >= 5
    busy, turns = re.fullmatch(
        r"(\d+) of (\d+) turns brought something", lines[-1]
    ).groups()
    assert 0 < int(busy) < int(turns)


def test_a_replay_is_the_same_life_again(play, tmp_path):
    name = tmp_path / "feed"
    lines = play("record_and_replay", "--messages", "30", "--name", str(name))

    assert lines[-3:-1] == ["replayed: identical", "paced: identical"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "feed_inbound.rec",
        "feed_inbound_seq.rec",
        "feed_inbound_time.rec",
        "feed_outbound.rec",
    ]


def test_one_http_connection_serves_all_requests(play):
    lines = play("http_single_connection", "--messages", "6", url=lambda v: v.rest)

    assert len([line for line in lines if line.startswith("HTTP 200")]) == 6
    assert lines[-1] == "6 requests"


def test_the_http_example_keeps_its_one_connection(load, capsys):
    accepted = []

    def answer(listener):
        sock, _ = listener.accept()
        accepted.append(sock)
        replies = [b'{"serverTime":1}', b'{"bids":[["1","2"]],"asks":[["3","4"]]}'] * 2
        with sock:
            for reply in replies:
                sock.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply)
                sock.sendall(head + reply)
            sock.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        code = load("http_single_connection").main([url, "--messages", "4"])
        server.join()

    assert (code, len(accepted)) == (0, 1)
    assert "HTTP 200: 1.0 / 3.0, spread 2.00" in capsys.readouterr().out


def test_a_venue_that_refuses_is_an_exit_code_and_a_sentence(load, capsys):
    code = load("http_single_connection").main(["http://127.0.0.1:1"])

    assert code == 1
    assert "ConnectError: cannot connect to 127.0.0.1:1" in capsys.readouterr().out


def test_two_protocols_write_one_tape(play):
    lines = play("polymorphic_endpoints", "--messages", "3")

    assert len([line for line in lines if line.startswith("json BTCUSDT")]) == 3
    assert len([line for line in lines if line.startswith("fix BTCUSDT")]) == 3
    assert lines[-1] == "one tape of 2 protocols"


def test_a_silent_connection_is_given_up_by_the_endpoint(play):
    lines = play("timer_endpoint", "--messages", "3", "--patience", "0.5", url=base)

    assert lines[:3] == [
        "connection 1",
        "ended: SilenceError: no trade for 0.5 s",
        "connection 2",
    ]
    silences, connections = re.fullmatch(
        r"(\d+) silences, (\d+) connections", lines[-1]
    ).groups()
    assert int(connections) == int(silences) + 1


def test_the_same_endpoints_run_beside_tasks_of_trio(play):
    lines = play("trio_service", "--messages", "9", url=base)

    assert len(trades(lines)) == 9
    assert lines[-1] == "9 trades"


@pytest.mark.parametrize("name", NAMES)
def test_the_help_names_a_real_venue(name, load, capsys):
    with pytest.raises(SystemExit) as caught:
        load(name).main(["--help"])

    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"python {name}.py" in out
    assert re.search(r"(wss|https)://\S+", out)


class Interrupting(io.StringIO):
    """Standard output at which somebody presses Ctrl-C after the first line."""

    def write(self, text):
        first = "\n" not in self.getvalue()
        count = super().write(text)
        if first and "\n" in text:
            signal.raise_signal(signal.SIGINT)
        return count


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupt_ends_it_cleanly(name, load, monkeypatch):
    out = Interrupting()
    monkeypatch.setattr(sys, "stdout", out)
    example = load(name)

    with pytest.raises(SystemExit) as caught:
        load("_offline").run(lambda: example.main(["--messages", "0"]))

    assert caught.value.code == 130
    assert out.getvalue().splitlines()[-1] == "interrupted"


@pytest.mark.slow
def test_an_example_is_a_program():
    program = subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, str(FOLDER / "single_connection.py"), "--messages", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        first = program.stdout.readline()
        assert first, program.stderr.read().decode()
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=GUARD_SECONDS)
    finally:
        program.kill()
        program.communicate()

    assert TRADE.match(first.decode())
    assert program.returncode == 130
    assert out.decode().splitlines()[-1] == "interrupted"
    assert b"Traceback" not in err
