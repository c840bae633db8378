"""What every live venue's `VenueApi` has in common: its clock, limits, connections.

A venue's `api` derives from `VenueSide` and says how the venue is asked for its time;
requests, messages and the private stream are the venue's own.
"""

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from integration.execution.instrument_map import InstrumentMap
from integration.rest.clock import ServerClock, resynchronise, synchronise
from integration.rest.limiter import BucketSpec, Feedback, RateLimiter
from integration.rest.transport import HttpTransport
from integration.stream.reconnect import ReconnectPolicy
from netcore.models import Timestamp

__all__ = ["SideConfig", "VenueSide", "bucket_limiter", "make_transport"]


class SideConfig(Protocol):
    """What a venue's configuration has, whatever else it has."""

    @property
    def recv_window_ms(self) -> int:
        """How old a request may be on arrival."""
        ...

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS is verified with; None: the system's."""
        ...

    @property
    def policy(self) -> ReconnectPolicy:
        """How the private stream is brought back."""
        ...


ConfigT = TypeVar("ConfigT", bound=SideConfig)


class VenueSide(ABC, Generic[ConfigT]):
    """The part of a `VenueApi` that is the same everywhere.

    Args:
        instruments: What is traded.
        config: Where the venue is, and how it is spoken to.
        clock: The venue's time; synchronised when the venue refuses ours. One of its
            own if None.
        transport: What sends requests; httpx if None.
    """

    def __init__(
        self,
        instruments: InstrumentMap,
        config: ConfigT,
        *,
        clock: ServerClock | None,
        transport: HttpTransport | None,
    ) -> None:
        self._instruments = instruments
        self._config = config
        self._clock = ServerClock() if clock is None else clock
        self._transport = make_transport(transport, config.ssl_context)

    @property
    def instruments(self) -> InstrumentMap:
        """What is traded."""
        return self._instruments

    @property
    def recv_window(self) -> float:
        """Seconds after which the venue refuses a request for its age."""
        return self._config.recv_window_ms / 1000

    @property
    def stream_policy(self) -> ReconnectPolicy:
        """How the private stream is brought back."""
        return self._config.policy

    def now_ns(self) -> Timestamp:
        """Return the venue's time as far as it is known."""
        return self._clock.now_ns()

    async def synchronise(self) -> None:
        """Ask the venue for its time, before it has to refuse ours."""
        await synchronise(self._clock, self._ask_time)

    async def resynchronise(self) -> None:
        """Forget what was believed of the venue's clock and ask anew."""
        await resynchronise(self._clock, self._ask_time)

    @abstractmethod
    async def _ask_time(self) -> Timestamp:
        """Ask the venue for its time."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def make_transport(
    given: HttpTransport | None, ssl_context: ssl.SSLContext | None
) -> HttpTransport:
    """Return what sends requests: what was given, or httpx."""
    if given is not None:
        return given
    # Imported when needed, as RestClient does: httpx takes a third of a second.
    import httpx

    from integration.rest.httpx_transport import HttpxTransport

    if ssl_context is None:
        return HttpxTransport()
    pool = httpx.AsyncHTTPTransport(verify=ssl_context, trust_env=False)
    return HttpxTransport(pool)


def bucket_limiter(
    url: str, buckets: Mapping[str, BucketSpec], feedback: tuple[Feedback, ...]
) -> RateLimiter:
    """Make a limiter of one host's buckets.

    Args:
        url: Whose host.
        buckets: By name: `default` pays for questions, `orders` for orders.
        feedback: Response headers that tell how much was used.
    """
    host = urlsplit(url).netloc
    named = {(host, name): spec for name, spec in buckets.items()}
    return RateLimiter(named, feedback=feedback)
