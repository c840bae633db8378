"""What the adapters that are programs share: arguments, and one line for their end.

Exit codes: 0 done or asked to end, 1 the network or the peer is to blame, 2 the
arguments are.
"""

import sys
from collections.abc import Awaitable, Callable

import trio

from netcore.errors import NetError


def port(text: str) -> int:
    """Read a port number."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return number


def start(
    usage: str,
    main: Callable[..., Awaitable[int | None]],
    *kinds: Callable[[str], object],
) -> int:
    """Run `main` with the arguments of the command line; return the exit code."""
    words = sys.argv[1:]
    try:
        arguments = [kind(word) for kind, word in zip(kinds, words, strict=True)]
    except ValueError:
        print(f"usage: {usage}", file=sys.stderr)
        return 2
    try:
        return trio.run(main, *arguments) or 0
    except* (NetError, OSError) as failed:
        leaf: BaseException = failed
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        print(f"{type(leaf).__name__}: {leaf}", file=sys.stderr)
    return 1
