"""Many clients over keep-alive connections, as cheap as can be made."""

import selectors
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit


class Client:
    """One connection that sends the next request when the last one is answered."""

    def __init__(self, url: str, make: Callable[[int], bytes]) -> None:
        where = urlsplit(url)
        self.sock = socket.create_connection((where.hostname or "", where.port or 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.make = make
        self.sent = 0
        self.data = b""

    def send(self) -> None:
        """Send the next request."""
        self.sock.sendall(self.make(self.sent))
        self.sent += 1

    def receive(self) -> bool:
        """Take what has come; say whether a response is complete."""
        self.data += self.sock.recv(65_536)
        head, separator, body = self.data.partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise RuntimeError(self.data[:300].decode(errors="replace"))
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return False
        self.data = b""
        return True


def drive(clients: list[Client], seconds: float) -> tuple[int, float]:
    """Keep all clients busy; return the answers and the seconds."""
    began = time.monotonic()
    answered = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
            client.send()
        waiting = len(clients)
        while waiting:
            for key, _ in selector.select():
                client = key.data
                if not client.receive():
                    continue
                answered += 1
                if time.monotonic() - began < seconds:
                    client.send()
                else:
                    waiting -= 1
    return answered, time.monotonic() - began


def close(clients: list[Client]) -> None:
    for client in clients:
        client.sock.close()


def listen_to_events(url: str, count: int) -> list[socket.socket]:
    """Open event streams and read their heads."""
    where = urlsplit(url)
    sockets = []
    for _ in range(count):
        sock = socket.create_connection((where.hostname or "", where.port or 0))
        sock.sendall(b"GET /updates HTTP/1.1\r\nHost: x\r\n\r\n")
        sockets.append(sock)
    for sock in sockets:
        data = b""
        while b"retry:" not in data:
            data += sock.recv(4096)
    return sockets


def count_events(sockets: list[socket.socket], each: int, name: str) -> tuple[int, int]:
    """Read until every stream has had so many events; return them, and the bytes."""
    total, size, line = 0, 0, f"event: {name}\n".encode()
    for sock in sockets:
        data = b""
        while data.count(line) < each or not data.endswith(b"\n\n\r\n"):
            data += sock.recv(2**20)
        total += data.count(line)
        size += len(data)
    return total, size


def listen_plainly(port: int, count: int) -> list[socket.socket]:
    """Open connections to who sends us bytes and nothing else."""
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


def drop_bytes(sockets: list[socket.socket], each: int) -> None:
    """Read so many bytes of every one."""
    for sock in sockets:
        left = each
        while left:
            left -= len(sock.recv(min(left, 2**20)))
