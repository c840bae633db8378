"""One line over TLS: `tls_ping.py HOST PORT CAFILE SNI`.

Sends `ping`, prints the line that comes back; says on stderr why not and exits with 1.
"""

import ssl
import sys

import trio
from _program import port, start

from netcore.errors import NetError
from netcore.info import ConnectionInfo
from netcore.stream.outbox import Outbox
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream, secure_context
from netcore.trio import TrioDriver, finish_connecting

# Less than a suite's 8 by what a busy machine needs to start an interpreter.
SECONDS = 5.0


async def ping(info: ConnectionInfo, context: ssl.SSLContext, name: str) -> bytes:
    """Return the answer, up to its line end."""
    stream = TlsStream(TcpStream.connect(info), context, server_hostname=name)
    await finish_connecting(stream)
    driver, outbox, line = TrioDriver(stream), Outbox(), b""
    try:
        outbox.push(b"ping\n")
        while not outbox.flush(stream):
            await driver.wait_writable()
        while b"\n" not in line:
            data = stream.receive()
            if data is None:
                await driver.park()
            elif data:
                line += data
            else:
                raise EOFError("the connection ended before an answer")
    finally:
        driver.closing()
        stream.close()
    return line


async def main(host: str, number: int, cafile: str, name: str) -> int:
    """Return the exit code."""
    try:
        with trio.fail_after(SECONDS):
            line = await ping(
                ConnectionInfo(host, number), secure_context(cafile), name
            )
    except trio.TooSlowError:
        print(f"TooSlowError: no answer within {SECONDS:g} s", file=sys.stderr)
        return 1
    except (NetError, EOFError, OSError) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1
    print(line.partition(b"\n")[0].decode(errors="replace"))
    return 0


if __name__ == "__main__":
    sys.exit(start("tls_ping.py HOST PORT CAFILE SNI", main, str, port, str, str))
