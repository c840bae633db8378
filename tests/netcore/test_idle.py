import pytest

from netcore.idle import Backoff, BusySpin, Sleep, Yield


class Sleeper:
    """Notes what it should sleep."""

    def __init__(self) -> None:
        self.naps: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.naps.append(seconds)


@pytest.mark.parametrize("strategy", [BusySpin(), Yield()])
def test_spinning_and_yielding_return(strategy):
    for work in (0, 1, 0):
        assert strategy.idle(work) is None


def test_yield_yields_only_without_work(monkeypatch):
    calls = []
    monkeypatch.setattr("os.sched_yield", lambda: calls.append(1), raising=False)
    strategy = Yield()

    strategy.idle(1)
    assert calls == []
    strategy.idle(0)
    assert calls == [1]


def test_sleep_sleeps_only_without_work():
    sleeper = Sleeper()
    strategy = Sleep(0.25, sleep=sleeper)

    for work in (1, 0, 5, 0):
        strategy.idle(work)

    assert sleeper.naps == [0.25, 0.25]


def test_backoff_spins_then_yields_then_sleeps_ever_longer(monkeypatch):
    yields = []
    monkeypatch.setattr("os.sched_yield", lambda: yields.append(1), raising=False)
    sleeper = Sleeper()
    strategy = Backoff(spins=2, yields=3, min_sleep=1, max_sleep=5, sleep=sleeper)

    for _ in range(2):
        strategy.idle(0)
    assert (len(yields), sleeper.naps) == (0, [])
    for _ in range(3):
        strategy.idle(0)
    assert (len(yields), sleeper.naps) == (3, [])
    for _ in range(5):
        strategy.idle(0)
    assert (len(yields), sleeper.naps) == (3, [1, 2, 4, 5, 5])


def test_backoff_starts_anew_after_work():
    sleeper = Sleeper()
    strategy = Backoff(spins=1, yields=0, min_sleep=1, max_sleep=8, sleep=sleeper)
    for _ in range(4):
        strategy.idle(0)

    strategy.idle(1)
    for _ in range(2):
        strategy.idle(0)

    assert sleeper.naps == [1, 2, 4, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spins": -1},
        {"yields": -1},
        {"min_sleep": 0},
        {"min_sleep": 2, "max_sleep": 1},
    ],
)
def test_backoff_refuses_times_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="must not be negative"):
        Backoff(**wrong)


def test_sleep_refuses_a_negative_time():
    with pytest.raises(ValueError, match="must not be negative, was -1"):
        Sleep(-1)
