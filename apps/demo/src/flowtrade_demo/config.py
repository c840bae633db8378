"""What a demo run is made of: one frozen record, so that a run is a function of it."""

from enum import StrEnum
from pathlib import Path

from flowtrade.models.clearing import SolverMode
from netcore.models import Model

__all__ = ["SYMBOLS", "DemoConfig", "DemoError", "Pace"]

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
"""Of the synthetic market, unless others are asked for."""


class DemoError(ValueError):
    """A demo that cannot be run as asked (mend the arguments)."""


class Pace(StrEnum):
    """Who moves the time."""

    LIVE = "live"
    """The clock: auctions on the second, the market as fast as it is."""
    LOCKSTEP = "lockstep"
    """The run itself: a round ends when everything has seen it. Repeatable."""


class DemoConfig(Model, frozen=True, kw_only=True):
    """A demo run.

    Attributes:
        seed: Of market, ids and bidders.
        symbols: Of the synthetic market, in the exchange's spelling.
        recordings: Files to play instead of the synthetic market.
        loop: Play the recordings again and again.
        speed: Market seconds per second, live only; 0 plays as fast as can be.
        host: Address of the page.
        port: Port of the page; 0 takes a free one.
        every: Seconds between auctions (market seconds in lockstep).
        batches: Stop after so many auctions; None runs until stopped.
        pace: Live or lockstep.
        store: `memory:` or `sqlite:PATH`.
        solver: Who solves first.
        tls: Speak TLS with the exchange, with a certificate made for this run.
        record: Folder into which the server's raw feed is recorded.
    """

    store: str
    seed: int = 7
    symbols: tuple[str, ...] = SYMBOLS
    recordings: tuple[Path, ...] = ()
    loop: bool = False
    speed: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8080
    every: float = 1.0
    batches: int | None = None
    pace: Pace = Pace.LIVE
    solver: SolverMode = SolverMode.HIGHS
    tls: bool = False
    record: Path | None = None

    def __post_init__(self) -> None:
        for name, value, fine in (
            ("every", self.every, 0.01 <= self.every <= 86_400),
            ("speed", self.speed, self.speed >= 0),
            ("batches", self.batches, self.batches is None or self.batches > 0),
            ("symbols", self.symbols, self.recordings or self.symbols),
        ):
            if not fine:
                msg = f"{name} is out of range, was {value}"
                raise DemoError(msg)
        if self.pace is Pace.LOCKSTEP and self.batches is None and not self.recordings:
            msg = "a synthetic market never ends: lockstep needs --batches"
            raise DemoError(msg)
