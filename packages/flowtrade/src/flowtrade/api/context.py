"""What every handler needs, put together once."""

from collections.abc import Callable
from typing import cast, final

import msgspec
from litestar.datastructures import State

from flowtrade.api.request import Api
from flowtrade.core.service import Service
from flowtrade.hub import Hub
from flowtrade.ports import Authorizer, Clock
from flowtrade.schedule import Schedule
from flowtrade.settings import ServerSettings

__all__ = ["Api", "Context", "context_of"]

_KEY = "flowtrade"


@final
class Context(msgspec.Struct, kw_only=True):
    """The parts behind the API.

    Attributes:
        service: The use cases.
        authorizer: Turns tokens into rights.
        hub: Where streams subscribe.
        clock: For the end of a token's stream.
        settings: Limits.
        schedule: For readiness, or None where nothing is scheduled.
        request_batch: Asks for a batch soon, or None where nobody answers.
    """

    service: Service
    authorizer: Authorizer
    hub: Hub
    clock: Clock
    settings: ServerSettings
    schedule: Schedule | None = None
    request_batch: Callable[[], None] | None = None

    def auto_solve(self) -> None:
        """Ask for a batch if every change of a bid shall be followed by one."""
        if self.settings.auto_solve and self.request_batch is not None:
            self.request_batch()

    def install(self, state: State) -> None:
        """Put this where the handlers find it."""
        state[_KEY] = self


def context_of(request: Api) -> Context:
    """Return the parts behind the application that got this request."""
    return cast("Context", request.app.state[_KEY])
