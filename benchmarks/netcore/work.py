"""What every contender shares: the work order, the message, the ways to count."""

import ssl
import statistics
import time
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

Result = dict[str, float]


class Trade(msgspec.Struct, gc=False):
    """The fields a strategy reads of a trade; numbers in strings read as floats."""

    E: int
    s: str
    a: int
    p: float
    q: float
    T: int
    m: bool


DECODER: Final = msgspec.json.Decoder(Trade, strict=False)


class Work(NamedTuple):
    """What one process is to measure.

    Attributes:
        task: "frames" or "decode", which receive until the end, or "trips".
        url: Where; its query tells the server the same.
        count: Messages to expect, or trips to make.
        cafile: The authority that signed a wss server's certificate.
    """

    task: str
    url: str
    count: int
    cafile: str

    @property
    def receives(self) -> bool:
        """Whether messages come by themselves."""
        return self.task != "trips"

    @property
    def decodes(self) -> bool:
        """Whether each message is made into a `Trade`."""
        return self.task == "decode"

    @property
    def size(self) -> int:
        """Bytes of a request and of each reply."""
        return int(parse_qs(urlsplit(self.url).query)["size"][0])

    @property
    def replies(self) -> int:
        """Replies to a request."""
        return int(parse_qs(urlsplit(self.url).query)["n"][0])

    def context(self) -> ssl.SSLContext | None:
        """Return what verifies the server, None for ws."""
        if not self.url.startswith("wss:"):
            return None
        return ssl.create_default_context(cafile=self.cafile)


class Tally:
    """Processor and wall time from its creation on, and what came meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self.reads = 0
        self.idle = 0.0
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def result(self) -> Result:
        """Return everything, per process."""
        return {
            "cpu": time.process_time() - self._cpu - self.idle,
            "wall": time.perf_counter() - self._wall,
            "count": self.count,
            "bytes": self.size,
            "reads": self.reads,
        }


def summary(times: list[float]) -> Result:
    """Return the quantiles of round trips, without the first tenth."""
    times = sorted(times[len(times) // 10 :])
    return {
        "p50": statistics.median(times) * 1e6,
        "p90": times[len(times) * 9 // 10] * 1e6,
        "count": len(times),
    }
