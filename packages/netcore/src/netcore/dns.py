"""Names to addresses, without keeping a busy loop waiting.

A `Resolver` starts a `Query`, which is polled like everything else. A failed look-up
is an outcome of its query: it never stops a resolver or its thread.
"""

import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from netcore.errors import ResolveError
from netcore.info import Address

__all__ = ["MAX_ADDRESSES", "resolve"]

MAX_ADDRESSES = 32
"""More than any venue publishes; what a hostile answer may cost us."""


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of `host`, the system's preferred first; this blocks.

    Numeric hosts need no resolver and do not block.

    Raises:
        ResolveError: If there is none.
    """
    try:
        ip_address(host)
    except ValueError:
        flags = 0
    else:
        flags = socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags
        )
    except (OSError, UnicodeError) as exc:
        number = exc.errno if isinstance(exc, OSError) else None
        raise ResolveError(
            f"cannot resolve {host!r}: {getattr(exc, 'strerror', None) or exc}",
            errno=number,
        ) from exc
    addresses = list(dict.fromkeys(_addresses(found, port)))
    if not addresses:
        raise ResolveError(f"{host!r} has neither an IPv4 nor an IPv6 address")
    return addresses[:MAX_ADDRESSES]


def _addresses(found: Iterable[tuple[object, ...]], port: int) -> Iterator[Address]:
    """Yield those of getaddrinfo's answers that a socket can connect to."""
    for family, *_, sockaddr in found:
        match family, sockaddr:
            case socket.AF_INET, (str(host), *_):
                yield Address(host, port)
            case socket.AF_INET6, (str(host), _, _, int(scope_id)):
                # A scoped address may come as "fe80::1%eth0".
                yield Address(host.partition("%")[0], port, scope_id)
