"""A recorded folder gives again what its consumer saw, and says what is wrong in it."""

import msgspec
import pytest
import trio

from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.reports import BookResynced, BookStale, Reconnecting
from integration.models import (
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.recording import (
    HttpEntry,
    Manifest,
    RecordingFault,
    RecordingFolder,
    open_recording,
)
from integration.replay import replay_session
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import BadChecksum, Gap, Restart, ScheduledFault

STEP_NS = 100_000_000
BTC, ETH = (MarketDataInstrument.spot(base, "usdt") for base in ("btc", "eth"))
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)


def wanted(dialect, *instruments):
    kinds = KINDS
    return [Subscription(dialect, i, kind) for i in instruments for kind in kinds]


class Session:
    """What a consumer saw while a simulated venue was recorded."""

    def __init__(self):
        self.events, self.books = [], {}

    async def record(
        self, sim, dialect, folder, *, steps=30, done=None, then=None, **config
    ):
        ws, rest = sim.websocket_url, sim.rest_url
        config = StreamConfig(
            websocket_url={dialect: ws},
            rest_url={} if rest is None else {dialect: rest},
            reconnect=ReconnectPolicy(backoff=Backoff(initial=0.01, maximum=0.02)),
            **config,
        )
        subscriptions = wanted(dialect, BTC, ETH)
        async with open_recording(folder, subscriptions, config=config) as recording:
            streams = recording.streams
            for step in range(400):
                await sim.advance(sim.time_ns + STEP_NS)
                await self._read(streams, 0.02)
                live = all(b.state is BookState.LIVE for b in streams.books.values())
                if step >= steps and live and (done is None or done(self.events)):
                    break
            else:
                raise AssertionError("the session never came to its end")
            await sim.drain()
            if then is not None:
                await sim.inject(then)
            await self._read(streams, 0.1)
            self.books = {key: image(book) for key, book in streams.books.items()}
        return recording.folder

    async def _read(self, streams, patience):
        """Read until nothing has come for so many seconds, however long that takes."""
        while True:
            with trio.move_on_after(patience) as scope:
                self.events += await streams.next_batch()
            if scope.cancelled_caught:
                return


def image(book):
    return (book.state, book.sequence, book.raw_bids(), book.raw_asks())


def by_topic(events):
    """Events of each topic in order; the times of HTTP images are nobody's."""
    found = {}
    for event in events:
        if isinstance(event, MarketEvent):
            if type(event.kind).__name__ == "OrderBookSnapshot":
                event = msgspec.structs.replace(event, time_received=0, time_exchange=0)
            key = (event.instrument.name, event.kind_name)
            found.setdefault(key, []).append(event)
        elif isinstance(event, BookStale | BookResynced):
            found.setdefault((event.instrument.name, "reports"), []).append(
                (type(event), event.reason, getattr(event, "missed", None))
            )
    return found


def play(folder):
    replay = replay_session(folder)
    events = [event for moment in replay for event in moment.events]
    return replay, events


async def recorded(tmp_path, dialect, *, faults=(), **options):
    session = Session()
    async with SimulatedExchange(
        SyntheticMarket(7), dialect=dialect, faults=faults
    ) as sim:
        folder = await session.record(sim, dialect, tmp_path / "rec", **options)
    return session, folder


@pytest.mark.parametrize("dialect", ["binance_spot", "bybit_spot", "okx", "kraken_v2"])
async def test_a_replay_gives_the_same_events_and_the_same_books(tmp_path, dialect):
    session, folder = await recorded(tmp_path, dialect)

    replay, events = play(folder)

    assert by_topic(events) == by_topic(session.events)
    assert {(e.value, n): image(b) for (e, n), b in replay.books.items()} == (
        session.books
    )
    assert len(by_topic(events)) == 6
    report = replay.report
    assert report.whole
    assert sum(report.events.values()) == len(events)


async def test_playing_twice_gives_the_same(tmp_path):
    _, folder = await recorded(tmp_path, "binance_spot")

    assert play(folder)[1] == play(RecordingFolder(folder.path))[1]


@pytest.mark.parametrize(
    ("dialect", "fault", "reason"),
    [
        ("binance_spot", Gap(symbol="BTCUSDT"), "gap"),
        ("okx", BadChecksum(symbol="BTCUSDT"), "checksum"),
        ("kraken_v2", BadChecksum(symbol="BTCUSDT"), "checksum"),
    ],
)
async def test_a_stale_book_is_reported_again(tmp_path, dialect, fault, reason):
    session, folder = await recorded(
        tmp_path,
        dialect,
        faults=[ScheduledFault(after_ms=2000, fault=fault)],
        done=lambda events: any(isinstance(e, BookResynced) for e in events),
    )

    replay, events = play(folder)

    assert by_topic(events) == by_topic(session.events)
    report = replay.report
    assert (report.stale, report.resynced) == ({reason: 1}, 1)
    assert not report.whole
    assert {(e.value, n): image(b) for (e, n), b in replay.books.items()} == (
        session.books
    )


async def test_an_outage_is_told_once_and_what_came_before_it_is_not_lost(tmp_path):
    session, folder = await recorded(
        tmp_path,
        "binance_spot",
        faults=[ScheduledFault(after_ms=2000, fault=Restart(downtime_ms=500))],
        done=lambda events: sum(isinstance(e, BookResynced) for e in events) == 2,
    )
    assert len(folder.sessions) == 2

    replay, events = play(folder)

    assert by_topic(events) == by_topic(session.events)
    (outage,) = [event for event in events if isinstance(event, Reconnecting)]
    assert outage.connection == "binance_spot#0"
    assert set(outage.instruments) == {BTC, ETH}
    report = replay.report
    assert (report.outages, report.stale) == (1, {"disconnected": 2})
    assert all(book.state == "live" for book in report.books)


async def test_a_connection_that_was_down_at_the_end_leaves_its_books_stale(tmp_path):
    session = Session()
    async with SimulatedExchange(SyntheticMarket(7), dialect="okx") as sim:
        folder = await session.record(sim, "okx", tmp_path / "rec", then=Restart())
    assert folder.manifest.down == ("okx#0",)

    replay, events = play(folder)

    assert by_topic(events) == by_topic(session.events)
    report = replay.report
    assert (report.outages, report.stale) == (1, {"disconnected": 2})
    assert {book.state for book in report.books} == {"stale"}


async def test_a_planned_change_of_connection_loses_and_repeats_nothing(tmp_path):
    session = Session()
    async with SimulatedExchange(SyntheticMarket(7), dialect="bybit_spot") as sim:
        folder = await session.record(
            sim, "bybit_spot", tmp_path / "rec", steps=40, lifetime=0.3, overlap=0.1
        )
    assert any(name.endswith("-successor") for name in folder.sessions)

    replay, events = play(folder)

    played, seen = by_topic(events), by_topic(session.events)
    assert played.keys() == seen.keys()
    for topic, found in seen.items():
        assert played[topic][: len(found)] == found
        # A change just before the end brings images that nobody waited for any more.
        rest = [type(event.kind).__name__ for event in played[topic][len(found) :]]
        assert rest in ([], ["OrderBookSnapshot"], ["OrderBookL1"])
    assert replay.report.outages == 0
    assert replay.report.whole


# Folders that are not as they should be


def test_a_folder_without_a_manifest_is_no_recording(tmp_path):
    with pytest.raises(RecordingFault, match="not a recording"):
        replay_session(tmp_path)


async def test_a_folder_in_use_is_not_recorded_into(tmp_path):
    (tmp_path / "precious").touch()

    with pytest.raises(RecordingFault, match="not empty"):
        async with open_recording(tmp_path, wanted("okx", BTC)):
            raise AssertionError("it was opened")

    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


async def test_a_run_that_was_cut_off_is_played_and_not_called_whole(tmp_path):
    session, folder = await recorded(tmp_path, "okx")
    folder.note(stopped_ns=None, ended_ns=None)

    replay, events = play(RecordingFolder(folder.path))

    kept = [e for e in events if isinstance(e, MarketEvent)]
    assert by_topic(kept) == by_topic(session.events)
    assert not replay.report.whole


async def test_without_the_connections_of_a_run_all_was_carried_by_each(tmp_path):
    session, folder = await recorded(tmp_path, "binance_spot")
    folder.note(connections={})

    assert by_topic(play(RecordingFolder(folder.path))[1]) == by_topic(session.events)


async def test_damaged_bytes_are_named_and_not_played_over(tmp_path):
    _, folder = await recorded(tmp_path, "okx")
    (path,) = folder.path.glob("*_inbound.rec")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(RecordingFault, match="damaged after attempt"):
        play(folder)


async def test_a_torn_last_line_of_the_journal_was_never_acted_upon(tmp_path):
    session, folder = await recorded(tmp_path, "binance_spot")
    folder.note(ended_ns=None, files={})  # as a crash leaves it
    path = folder.path / "http.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time_ns":1,"ur')
    assert by_topic(play(folder)[1]) == by_topic(session.events)

    path.write_bytes(b"{\n" + whole)
    with pytest.raises(RecordingFault, match=r"http\.jsonl, line 1"):
        play(folder)


def test_a_recording_of_another_version_is_refused(tmp_path):
    folder = RecordingFolder.create(tmp_path, Manifest((), 1))
    folder.note(version=9)

    with pytest.raises(RecordingFault, match="version 2 is read, was 9"):
        RecordingFolder(tmp_path)


def test_a_session_of_nobody_is_refused(tmp_path):
    folder = RecordingFolder.create(tmp_path, Manifest((), 1))
    (tmp_path / "mtgox-0-0001_inbound.rec").write_bytes(b"x")

    with pytest.raises(RecordingFault, match="mtgox"):
        replay_session(folder)


def test_a_body_that_is_no_text_is_kept_byte_for_byte():
    entry = HttpEntry(1, "http://x/", 200, binary=b"\xff\x00")

    back = msgspec.json.decode(msgspec.json.encode(entry), type=HttpEntry)

    assert back.content == b"\xff\x00"
    assert HttpEntry(1, "u", 200, "é").content == "é".encode()


async def test_a_failed_image_is_counted_and_changes_no_book(tmp_path):
    _, folder = await recorded(tmp_path, "binance_spot")
    path = folder.path / "http.jsonl"
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    failed = [msgspec.json.encode({**line, "status": 503}) for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in failed))
    folder.seal(1)

    replay, _ = play(folder)

    report = replay.report
    assert report.http == {"503": len(lines)}
    assert report.faults == {}
    assert {book.state for book in report.books} == {"syncing"}
    assert "l2" not in report.events
