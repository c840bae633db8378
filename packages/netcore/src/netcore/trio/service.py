"""An `IOService` driven by a trio task: the same endpoints, the same life cycle.

There is no second implementation: `run_service` makes the turns of
`netcore.service.IOService` and parks on the selector's descriptor between them, until
the service's `deadline` at the latest. An endpoint's code is plain synchronous code
and cannot tell which driver calls it. To hand what it receives to other tasks, let it
use `send_nowait` of a memory channel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import trio

from netcore.clock import to_ns
from netcore.endpoint import Action
from netcore.errors import EndpointLost
from netcore.service import IOService
from netcore.trio.driver import TrioDriver

__all__ = ["run_service"]

T = TypeVar("T")
C = TypeVar("C")


async def run_service(
    service: IOService[T, C],
    *,
    action: Action[T, C] | None = None,
    until: Callable[[], bool] | None = None,
    on_lost: Callable[[EndpointLost], None] | None = None,
    spin: float = 0.0,
    budget: float = 0.001,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Make a service's turns until `until` says True, or until cancelled.

    The service stays its owner's: it is not closed at the end, and can be run again.
    Other tasks may register, deregister and dispatch meanwhile.

    Give it an `EpollSelector`: streams without a descriptor, and all of them under a
    `DirectSelector`, are only looked at every millisecond (while idle).

    Args:
        service: Without an idle strategy and with a resolver that does not block.
        action: Acts on the connections instead of each endpoint's `poll`.
        until: Asked before each turn, and before parking.
        on_lost: Takes an endpoint's loss, and the others go on; without it, the loss is
            raised.
        spin: Seconds to keep trying before parking.
        budget: Seconds of work after which other tasks get their turn.
        task_status: Told when the turns begin.

    Raises:
        EndpointLost: If an endpoint ended and may not be made again. Nothing is lost
            of the others: call again to go on with them.
        ValueError: If a part of the service may block.
        trio.BusyResourceError: If another task runs the service.
        trio.Cancelled: If the task is cancelled, always between two turns.
    """
    blocker = service.may_block
    if blocker is not None:
        raise ValueError(
            f"{blocker} would block trio's loop: leave idle strategies out, and "
            "resolve by netcore.dns.ThreadResolver or StaticResolver"
        )
    driver = TrioDriver(_Watch(service), spin=spin, budget=budget)
    with _sole_driver(service, driver):
        task_status.started()
        while until is None or not until():
            await driver.checkpoint()
            if _turn(service, action, on_lost) or _spun(
                driver, service, action, on_lost
            ):
                continue
            # A turn without work may have brought it about, and no other need come.
            if until is None or not until():
                await _park(driver, service)


def _turn(
    service: IOService[T, C],
    action: Action[T, C] | None,
    on_lost: Callable[[EndpointLost], None] | None,
) -> int:
    try:
        return service.poll(action)
    except EndpointLost as exc:
        if on_lost is None:
            raise
        on_lost(exc)
        return 1


def _spun(
    driver: TrioDriver,
    service: IOService[T, C],
    action: Action[T, C] | None,
    on_lost: Callable[[EndpointLost], None] | None,
) -> bool:
    """Keep trying for the driver's spin; return whether something was done."""
    return any(_turn(service, action, on_lost) for _ in driver.turns())


async def _park(driver: TrioDriver, service: IOService[Any, Any]) -> None:
    """Wait until the next turn may have something to do."""
    deadline = service.deadline
    if deadline is None:
        await driver.park()
        return
    left = deadline - service.clock.monotonic_ns()
    if left > 0:
        # The service's clock need not be trio's: only the distance means the same.
        await driver.park(deadline_ns=to_ns(trio.current_time()) + left)


@contextmanager
def _sole_driver(service: IOService[Any, Any], driver: TrioDriver) -> Iterator[None]:
    if service.on_change is not None:
        raise trio.BusyResourceError(f"another task is running {service!r}")
    service.on_change = driver.wake
    try:
        yield
    finally:
        service.on_change = None


@final
class _Watch:
    """A service as the driver sees it."""

    def __init__(self, service: IOService[Any, Any]) -> None:
        self._service = service

    @property
    def buffered(self) -> bool:
        """False: what is held inside shows in the service's deadline."""
        return False

    @property
    def want_write(self) -> bool:
        """False: the selector watches both directions."""
        return False

    def fileno(self) -> int:
        """Return the selector's descriptor."""
        return self._service.fileno()
