"""What a store must look like after its server was killed.

Read with SQL of its own, not through the reads that are on trial, except where these
are what is compared.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, final

import msgspec

from flowtrade.core.auction import Auctioneer
from flowtrade.core.mirror import Mirror
from flowtrade.core.state import Kind, Part
from flowtrade.models.batch import BatchRecord, BatchStatus
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.ids import Id
from flowtrade.ports import Solver, Store
from flowtrade.settings import AuctionSettings
from flowtrade.store.codec import decode_value, id_from_blob
from flowtrade.store.sessions import Session
from flowtrade.testing.crash.load import (
    Bidder,
    CurveBidder,
    ListBidder,
    SubmissionBidder,
)
from flowtrade.testing.doubles import RecordingPublisher
from netcore.models import Timestamp

__all__ = ["Toll", "audit", "mirror_agrees", "replay_last"]

_RECORD = msgspec.json.Decoder(BatchRecord)


class Toll(msgspec.Struct, kw_only=True):
    """What has been checked.

    Attributes:
        kills: How often the server was killed.
        acknowledged: Requests that were answered, all found.
        kept: Requests that were not answered and had happened.
        dropped: Requests that were not answered and had not.
        versions: Versions that tile their timelines.
        batches: Batches stored, each grid point once.
        replayed: Batches that were solved again to the same hashes.
    """

    kills: int = 0
    acknowledged: int = 0
    kept: int = 0
    dropped: int = 0
    versions: int = 0
    batches: int = 0
    replayed: int = 0


class _Line(msgspec.Struct):
    valid_from: Timestamp
    valid_until: Timestamp | None
    price: float | None


@final
class _Contents:
    """All that a store holds, as rows."""

    def __init__(self, session: Session) -> None:
        self.created: dict[tuple[Kind, Id], Timestamp] = {
            (Kind(kind), id_from_blob(blob)): created
            for kind, blob, created in session.execute(
                "SELECT kind, id, created FROM entity"
            )
        }
        self.lines: dict[tuple[Part, Id], list[_Line]] = {}
        for part, blob, start, until, value in session.execute(
            "SELECT v.part, e.id, v.valid_from, lead(v.valid_from) OVER "
            "(PARTITION BY v.entity, v.part ORDER BY v.valid_from), v.value "
            "FROM timeline v JOIN entity e ON e.pk = v.entity "
            "ORDER BY v.entity, v.part, v.valid_from"
        ):
            curve = decode_value(Part(part), value)
            price = curve.price if isinstance(curve, ConstantCurve) else None
            line = self.lines.setdefault((Part(part), id_from_blob(blob)), [])
            line.append(_Line(start, until, price))
        self.batches: list[tuple[int, Timestamp, Timestamp | None, BatchRecord]] = [
            (seq, as_of, scheduled, _RECORD.decode(record))
            for seq, as_of, scheduled, record in session.execute(
                "SELECT seq, as_of, scheduled, record FROM batch ORDER BY seq"
            )
        ]
        self.outcomes: dict[Timestamp, int] = dict(
            session.execute("SELECT as_of, count(*) FROM outcome GROUP BY as_of")
        )
        (self.last,) = session.execute("SELECT last_timestamp FROM head").fetchone()

    def prices(self, demand: Id) -> list[float | None]:
        return [line.price for line in self.lines.get((Part.CURVE, demand), ())]

    def starts(self, demand: Id) -> list[Timestamp]:
        return [line.valid_from for line in self.lines.get((Part.CURVE, demand), ())]


def audit(session: Session, bidders: Iterable[Bidder], toll: Toll) -> None:
    """Check a store against what bidders were told.

    What turns out to have happened without an answer is noted with its bidder, who
    goes on from there.

    Raises:
        AssertionError: It is not as it must be.
    """
    contents = _Contents(session)
    toll.acknowledged = 0
    toll.versions = _check_tiling(contents)
    toll.batches = _check_batches(contents)
    for bidder in bidders:
        match bidder:
            case CurveBidder():
                _check_curves(bidder, contents, toll)
            case SubmissionBidder():
                _check_submissions(bidder, contents, toll)
            case ListBidder():
                _check_list(bidder, contents, toll)


def mirror_agrees(mirror: Mirror, session: Session) -> None:
    """Check that a mirror holds what the store's live rows hold."""
    contents = _Contents(session)
    for (part, key), line in contents.lines.items():
        if part is not Part.CURVE:
            continue
        view = mirror.demand(key)
        assert view is not None  # noqa: S101  # an oracle speaks by failing
        price = getattr(view.curve.value, "price", None)
        _check(
            (view.curve.valid_from, price) == (line[-1].valid_from, line[-1].price),
            "mirror",
            key,
            f"as the last row, was {view.curve} beside {line[-1]}",
        )
    seen = 0 if mirror.batch is None else mirror.batch.as_of
    cleared = [a for _, a, _, r in contents.batches if r.status is BatchStatus.CLEARED]
    _check(seen == max(cleared, default=0), "mirror", seen, "the last batch")


async def replay_last(store: Store, mirror: Mirror, solver: Solver) -> int:
    """Solve the last cleared batch again; return how many that were."""
    if mirror.batch is None:
        return 0
    auctioneer = Auctioneer(
        store=store,
        mirror=mirror,
        solver=solver,
        publisher=RecordingPublisher(),
        settings=AuctionSettings(horizon=1.0),
    )
    replay = await auctioneer.replay(mirror.batch.as_of)
    _check(replay.identical, "replay", replay, "identical")
    return 1


def _check_tiling(contents: _Contents) -> int:
    for (part, key), line in contents.lines.items():
        created = contents.created[part.kind, key]
        if part is not Part.CAP:
            _check(line[0].valid_from == created, part.name, key, "from its creation")
        for version, following in pairwise(line):
            # It ends where the next one begins: tiled, if no two begin together.
            _check(
                version.valid_from < following.valid_from,
                part.name,
                key,
                f"tiled at {version.valid_from}, next {following.valid_from}",
            )
        _check(line[-1].valid_from <= contents.last, part.name, key, "before the head")
    return sum(map(len, contents.lines.values()))


def _check_batches(contents: _Contents) -> int:
    rows = contents.batches
    seqs = [seq for seq, _, _, _ in rows]
    _check(seqs == list(range(1, len(rows) + 1)), "batches", seqs, "without gap")
    points = [point for _, _, point, _ in rows if point is not None]
    _check(points == sorted(set(points)), "batches", points, "one for each grid point")
    moments = [as_of for _, as_of, _, _ in rows]
    _check(moments == sorted(set(moments)), "batches", moments, "in order")
    for seq, as_of, _, record in rows:
        cleared = record.status is BatchStatus.CLEARED
        expected = record.portfolios + len(record.products) if cleared else 0
        found = contents.outcomes.get(as_of, 0)
        _check(found == expected, f"batch {seq}", found, f"{expected} outcomes")
    return len(rows)


def _check_curves(bidder: CurveBidder, contents: _Contents, toll: Toll) -> None:
    if bidder.demand is None:  # its first request was never answered
        bidder.open = False
        return
    starts, prices = contents.starts(bidder.demand), contents.prices(bidder.demand)
    told = len(bidder.told)
    toll.acknowledged += told
    _check(starts[:told] == bidder.told, "curves", bidder.demand, "all that were told")
    _check(
        prices == [float(number) for number in range(len(prices))],
        "curves",
        prices,
        "each once, in order",
    )
    _resolve(len(starts) - told, 1 if bidder.open else 0, toll)
    bidder.told = starts
    bidder.open = False


def _check_submissions(
    bidder: SubmissionBidder, contents: _Contents, toll: Toll
) -> None:
    toll.acknowledged += len(bidder.told)
    if bidder.open is not None:
        demand, portfolio = bidder.open
        made = contents.created.get((Kind.DEMAND, demand))
        also = contents.created.get((Kind.PORTFOLIO, portfolio))
        _check(made == also, "submission", bidder.open, "whole or not at all")
        _resolve(0 if made is None else 1, 1, toll)
        if made is not None:
            bidder.told.append((made, demand, portfolio))
        bidder.open = None
    # Each was stopped by the next, the last one is live; there may be none at all.
    ends = [moment for moment, _, _ in bidder.told[1:]] + [None] * bool(bidder.told)
    for (moment, demand, portfolio), end in zip(bidder.told, ends, strict=True):
        _check(
            contents.created.get((Kind.DEMAND, demand)) == moment,
            "submission",
            demand,
            "there",
        )
        for line in ((Part.CURVE, demand), (Part.DEMAND, portfolio)):
            first = contents.lines[line][0]
            _check(first.valid_until == end, "submission", line, "stopped by the next")


def _check_list(bidder: ListBidder, contents: _Contents, toll: Toll) -> None:
    toll.acknowledged += bidder.told * len(bidder.demands)
    for key in bidder.demands:
        prices = contents.prices(key)
        # A body that was open may be sent again, so its price may stand twice.
        distinct = list(dict.fromkeys(prices))
        _check(
            distinct == [float(number) for number in range(len(distinct))],
            "list",
            prices,
            "each, in order",
        )
        _resolve(len(distinct) - bidder.told, 1 if bidder.open else 0, toll)
    bidder.open = False


def _resolve(more: int, most: int, toll: Toll) -> None:
    _check(0 <= more <= most, "store", more, f"at most {most} that was not answered")
    toll.kept += more
    toll.dropped += most - more


def _check(condition: bool, what: str, value: Any, expected: str) -> None:  # noqa: ANN401  # whatever is wrong
    if not condition:
        raise AssertionError(f"{what}: must be {expected}, was {value!r}")
