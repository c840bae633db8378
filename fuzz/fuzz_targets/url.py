"""URLs of WebSockets."""

from fuzz_targets.common import Target, require
from netcore.errors import InvalidURL
from netcore.ws import parse_ws_url

__all__ = ["TARGETS"]


def url(data: bytes) -> None:
    """A WebSocket URL: read, or `InvalidURL`."""
    try:
        parts = parse_ws_url(data.decode(errors="replace"))
    except InvalidURL:
        return
    require(parts.host != "", "takes a URL without a host")
    require(parts.target.startswith("/"), "makes a target of no path")
    again = parse_ws_url(f"{parts.scheme}://{parts.authority}{parts.target}")
    require(again.info == parts.info, "reads its own URL in another way")


def _url_seeds() -> list[bytes]:
    return [
        b"wss://venue.example:9443/ws/btcusdt@trade?x=1&y=%20",
        b"ws://[2001:db8::1]:80/",
        b"ws://127.0.0.1",
        "wss://bücher.example/ü?ä".encode(),
        b"ws://user:pw@h/",
        b"ws://h/#x",
    ]


_URL_WORDS = (
    b"ws://", b"wss://", b"[", b"]", b":", b"@", b"#", b"?", b"/", b"%", b"\xc3\xbc",
    b"..", b"xn--", b":65536", b"a" * 70, b"\xe2\x84\x80", b"\xef\xbc\x8e", b"%zone",
)  # fmt: skip

TARGETS = {"url": Target(url, _url_seeds, _URL_WORDS)}
