"""Recordings that were cut, changed or lost in part: told of, never played over."""

import json
import shutil
from itertools import count
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.cli.shell import main
from integration.market.config import StreamConfig
from integration.models import MarketDataInstrument, SubKind, Subscription
from integration.recording import RecordingFault, RecordingFolder, open_recording
from integration.replay import replay_session
from integration.testing import SimulatedExchange, SyntheticMarket

STEP_NS = 100_000_000
BTC = MarketDataInstrument.spot("btc", "usdt")
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2)
READ = ["http.jsonl", "_inbound.rec", "_inbound_seq.rec", "_inbound_time.rec"]


async def record(folder):
    dialect = "binance_spot"
    async with SimulatedExchange(SyntheticMarket(7), dialect=dialect) as sim:
        config = StreamConfig(
            websocket_url={dialect: sim.websocket_url},
            rest_url={dialect: sim.rest_url},
        )
        wanted = [Subscription(dialect, BTC, kind) for kind in KINDS]
        async with open_recording(folder, wanted, config=config) as recording:
            streams = recording.streams
            book = streams.books[dialect, BTC]
            updates = 0
            while book.state != "live" or updates < 20:
                await sim.advance(sim.time_ns + STEP_NS)
                updates += len(await streams.next_batch())


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "run"
    trio.run(record, folder)
    return folder


@pytest.fixture(scope="module")
def events(original):
    found, fault = play(original)
    assert fault is None
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def copied(original, tmp_path_factory):
    """Make fresh copies of the recording."""
    place, numbers = tmp_path_factory.mktemp("damaged"), count()

    def copy():
        return Path(shutil.copytree(original, place / str(next(numbers))))

    return copy


def play(folder):
    """Return what was played, and what ended it."""
    found = []
    try:
        replay = replay_session(folder)
        for moment in replay:
            found += moment.events
    except RecordingFault as fault:
        return found, fault
    assert replay.report.whole
    return found, None


def file_of(folder, kind):
    (path,) = [p for p in folder.iterdir() if p.name.endswith(kind)]
    return path


@given(kind=st.sampled_from(READ), part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_a_file_that_ends_early_is_named_and_what_was_before_is_played(
    copied, events, kind, part
):
    folder = copied()
    path = file_of(folder, kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])

    played, fault = play(folder)

    assert fault is not None
    assert path.name.split("_inbound")[0] in str(fault)
    if kind == "http.jsonl":
        # Without its image a book has no updates; the trades are all there.
        assert [e for e in events if e.kind_name == "public_trade"] == [
            e for e in played if e.kind_name == "public_trade"
        ]
    else:
        assert played == events[: len(played)]


@given(
    kind=st.sampled_from(READ),
    part=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
@settings(max_examples=40, deadline=None)
def test_a_bit_that_changed_anywhere_is_noticed(copied, kind, part, bit):
    folder = copied()
    path = file_of(folder, kind)
    content = bytearray(path.read_bytes())
    content[int(len(content) * part)] ^= 1 << bit
    path.write_bytes(content)

    _, fault = play(folder)

    assert fault is not None
    assert path.name.split("_inbound")[0] in str(fault)


@given(part=st.floats(0, 1, exclude_max=True), bit=st.integers(-1, 7))
@settings(max_examples=40, deadline=None)
def test_a_manifest_that_was_changed_or_cut_makes_no_other_error(copied, part, bit):
    folder = copied()
    path = folder / "recording.json"
    content = bytearray(path.read_bytes())
    at = int(len(content) * part)
    if bit < 0:
        del content[at:]
    else:
        content[at] ^= 1 << bit
    path.write_bytes(content)

    try:
        for _ in replay_session(folder):
            pass
    except RecordingFault as fault:
        assert str(folder) in str(fault)  # noqa: PT017  most changes are none


@pytest.mark.parametrize("kind", READ)
def test_a_file_that_is_gone_is_named(copied, kind):
    folder = copied()
    path = file_of(folder, kind)
    path.unlink()

    _, fault = play(folder)

    assert path.name in str(fault)


def test_what_was_added_later_is_noticed(copied, events):
    folder = copied()
    path = file_of(folder, "_inbound.rec")
    path.write_bytes(path.read_bytes() + b"more")

    played, fault = play(folder)

    assert played == events
    assert f"{path}: is not as it was recorded" in str(fault)


def test_of_a_run_that_was_cut_off_nothing_is_known_but_what_is_there(copied, events):
    folder = copied()
    RecordingFolder(folder).note(ended_ns=None, files={})
    path = file_of(folder, "_inbound.rec")
    path.write_bytes(path.read_bytes() + b"more")

    assert play(folder) == (events, None)


def test_a_damaged_recording_is_no_whole_one(copied):
    folder = copied()
    path = file_of(folder, "_inbound.rec")
    path.write_bytes(path.read_bytes()[:-1])
    replay = replay_session(folder)

    with pytest.raises(RecordingFault):
        list(replay)

    assert replay.report.faults == {"RecordingFault": 1}
    assert not replay.report.whole


def test_what_was_played_before_the_damage_reaches_the_sink(
    copied, events, tmp_path, capsys
):
    folder, sink = copied(), tmp_path / "events.jsonl"
    path = file_of(folder, "_inbound.rec")
    path.write_bytes(path.read_bytes() + b"more")

    code = main(["replay", str(folder), "--quiet", "--sink", f"jsonl:{sink}"])

    assert code == 1
    assert len(sink.read_text().splitlines()) == len(events)
    told = capsys.readouterr()
    assert json.loads(told.out)["whole"] is False
    assert "is not as it was recorded" in told.err
