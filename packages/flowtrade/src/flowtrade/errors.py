"""What can go wrong in the auction service.

    FlowtradeError
      x RequestError            Local: the caller asked for something it must not
        + InvalidRequest        a value that breaks a rule
          . KeyReused           an idempotency key names another request
        + UnknownReference      an id in the request that names nothing of yours
        + NotFound              the thing addressed does not exist
        + Conflict              it exists, but not in the state this needs
          . IdTaken
          . AlreadyPartitioned
          . BatchExists
          . Superseded
          . VersionMismatch
        + Unauthorized          no valid token
        + Forbidden             a valid token without this right
      x BatchFailed             Local to the market: it cannot be cleared as it is
      x ServiceError            Remote: something the service stands on failed
        + StoreBusy             too many writes wait; try again
        + StoreFailed           the disk or database refused
        + StoreClosed           the service is stopping
        + NotLeader             another process runs the auctions
        + SchemaMismatch        the file belongs to another program or version
        + SolverFailed          no solver gave an answer that could be certified
        + CannotListen          the address cannot be listened on
          . AddressInUse        the port is taken
        + ConnectionFailed      the client's view: the server is out of reach
      x ApiError                the client's view: a problem that the server reported

Each has a stable `code`; HTTP statuses are chosen in one place, `flowtrade.api`.
"""

from typing import ClassVar, final

__all__ = [
    "AddressInUse",
    "AlreadyPartitioned",
    "ApiError",
    "BatchExists",
    "BatchFailed",
    "CannotListen",
    "Conflict",
    "ConnectionFailed",
    "FlowtradeError",
    "Forbidden",
    "IdTaken",
    "InvalidRequest",
    "KeyReused",
    "NotFound",
    "NotLeader",
    "RequestError",
    "SchemaMismatch",
    "ServiceError",
    "SolverFailed",
    "StoreBusy",
    "StoreClosed",
    "StoreFailed",
    "Superseded",
    "Unauthorized",
    "UnknownReference",
    "VersionMismatch",
]


class FlowtradeError(Exception):
    """The base of all errors of this package.

    Attributes:
        code: A stable word for programs; the message is for people.
    """

    code: ClassVar[str] = "flowtrade"


class RequestError(FlowtradeError):
    """The caller asked for something it must not; repeating it will not help."""

    code = "request"


class InvalidRequest(RequestError):
    """A value breaks a rule.

    Attributes:
        where: The value's path in the request, empty if unknown.
    """

    code = "invalid"

    def __init__(self, text: str, *, where: str = "") -> None:
        super().__init__(text)
        self.where = where


@final
class KeyReused(InvalidRequest):
    """An idempotency key was used before, for a different request."""

    code = "key-reused"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the idempotency key {key!r} named another request; make a new key"
        )


class UnknownReference(RequestError):
    """An id in the request names nothing the caller may refer to.

    The same error whether the thing does not exist or belongs to another bidder, so
    that it reveals neither.

    Attributes:
        kind: "demand" or "product".
        ids: The ids concerned.
    """

    code = "unknown-reference"

    def __init__(self, kind: str, ids: tuple[str, ...]) -> None:
        super().__init__(
            f"no such {kind} of yours: {', '.join(ids)}; create it first"
            if kind == "demand"
            else f"no such {kind}: {', '.join(ids)}"
        )
        self.kind = kind
        self.ids = ids


class NotFound(RequestError):
    """The thing addressed does not exist."""

    code = "not-found"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"no such {kind}: {key}")
        self.kind = kind
        self.key = key


class Conflict(RequestError):
    """The thing exists, but not in the state the request needs."""

    code = "conflict"


@final
class IdTaken(Conflict):
    """A new thing's id is in use already."""

    code = "id-taken"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"the {kind} {key} exists already; ids are used once")


@final
class AlreadyPartitioned(Conflict):
    """A product is divided once, and this one is."""

    code = "already-partitioned"

    def __init__(self, key: str) -> None:
        super().__init__(f"product {key} is divided already; divide its parts instead")


@final
class BatchExists(Conflict):
    """A batch was already stored for this grid point."""

    code = "batch-exists"


@final
class Superseded(Conflict):
    """Another process has taken the lead since; nothing was stored."""

    code = "superseded"

    def __init__(self, mine: int, present: int) -> None:
        super().__init__(
            f"the lead of epoch {mine} is over; epoch {present} has begun elsewhere"
        )


@final
class VersionMismatch(Conflict):
    """The thing has changed since the version that the caller named."""

    code = "version-mismatch"

    def __init__(self, kind: str, key: str, expected: str, actual: str) -> None:
        super().__init__(
            f"the {kind} {key} is of {actual}, not of {expected}; read it again"
        )


class Unauthorized(RequestError):
    """There is no valid token; the message never repeats the token."""

    code = "unauthorized"


class Forbidden(RequestError):
    """The token is valid, but does not carry this right."""

    code = "forbidden"


class BatchFailed(FlowtradeError):
    """The market cannot be cleared as it is.

    Attributes:
        orders: The orders to blame, such as two that trade without limit.
    """

    code = "batch-failed"

    def __init__(self, text: str, *, orders: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.orders = orders


class ServiceError(FlowtradeError):
    """Something the service stands on failed; the request itself may be sound."""

    code = "service"


class StoreBusy(ServiceError):
    """Too many writes wait for the disk; nothing was queued.

    Attributes:
        retry_after: Seconds after which to try again.
    """

    code = "store-busy"

    def __init__(self, waiting: int, *, retry_after: float = 1.0) -> None:
        super().__init__(
            f"{waiting} writes wait already; try again in {retry_after:g} s"
        )
        self.retry_after = retry_after


class StoreFailed(ServiceError):
    """The database refused an operation; nothing of it was kept."""

    code = "store-failed"


class StoreClosed(ServiceError):
    """The store takes no more operations: the service is stopping."""

    code = "store-closed"

    def __init__(self) -> None:
        super().__init__("the store is closed; the service is stopping")


class NotLeader(ServiceError):
    """This process does not run auctions: another one on the same store does.

    Attributes:
        retry_after: Seconds after which it may be otherwise.
    """

    code = "not-leader"

    def __init__(self, *, retry_after: float = 1.0) -> None:
        super().__init__(
            "another process runs the auctions of this store; ask it, or try again"
        )
        self.retry_after = retry_after


class SchemaMismatch(ServiceError):
    """A file is not a flowtrade store, or one of a newer version."""

    code = "schema-mismatch"


class SolverFailed(ServiceError):
    """No solver gave an answer that could be certified in time."""

    code = "solver-failed"


class CannotListen(ServiceError):
    """The address cannot be listened on: not this machine's, say, or not allowed."""

    code = "cannot-listen"

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {reason}")
        self.host = host
        self.port = port


class AddressInUse(CannotListen):
    """Another program listens on the address already."""

    code = "address-in-use"

    def __init__(self, host: str, port: int) -> None:
        reason = "it is in use by another program; stop it or choose another port"
        super().__init__(host, port, reason)


class ConnectionFailed(ServiceError):
    """The server could not be reached, or the connection broke (client's view).

    Whether a request that failed this way was carried out is unknown.
    """

    code = "connection-failed"


class ApiError(FlowtradeError):
    """The server refused a request (raised by `flowtrade.client`).

    Attributes:
        status: The HTTP status.
        problem: The server's code, such as `unknown-reference`.
        detail: The server's sentence.
        orders: The orders that a failed batch names.
        retry_after: Seconds after which the server wants to be asked again, or None.
    """

    code = "api"

    def __init__(
        self,
        status: int,
        problem: str,
        detail: str,
        *,
        orders: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {problem}: {detail}")
        self.status = status
        self.problem = problem
        self.detail = detail
        self.orders = orders
        self.retry_after = retry_after
