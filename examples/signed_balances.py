"""Fetch balances over a signed request, from a venue that runs inside this program.

Shows what a new private endpoint takes: a request, a recipe, a parser for errors. The
venue checks the signature itself, so that this is no monologue.
"""

import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

import httpx
import msgspec
import trio

from integration.errors import HttpResponse, Unauthorised
from integration.rest import (
    HmacKey,
    HttpParser,
    PreparedRequest,
    RequestSigner,
    RestClient,
    RestRequest,
)
from integration.rest.httpx_transport import HttpxTransport

KEY, SECRET = "demo-key", "test_secret"


class Balance(msgspec.Struct):
    """What we have of one coin."""

    coin: str
    total: Decimal


class Balances(msgspec.Struct):
    """The venue's answer."""

    success: bool
    result: list[Balance]


class FetchBalances(RestRequest[Balances], frozen=True):
    """GET /api/wallet/balances."""

    response_type: ClassVar[Any] = Balances

    def path(self) -> str:
        """Return the endpoint's path."""
        return "/api/wallet/balances"


class SigningConfig(msgspec.Struct, frozen=True):
    """What one signature depends on."""

    timestamp_ms: int
    method: str
    target: bytes
    content: bytes


class FtxLikeSigner:
    """Signs timestamp, method, target and body; puts the result into headers."""

    def __init__(self, key: str, timestamp_ms: Callable[[], int]) -> None:
        self._key = key
        self._timestamp_ms = timestamp_ms

    def config(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> SigningConfig:
        """Gather what is signed."""
        del request
        return SigningConfig(
            self._timestamp_ms(), prepared.method, prepared.raw_path, prepared.content
        )

    def bytes_to_sign(self, config: SigningConfig) -> bytes:
        """Return the prehash."""
        head = f"{config.timestamp_ms}{config.method}".encode()
        return head + config.target + config.content

    def build_signed_request(
        self, config: SigningConfig, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Return the request with its three headers."""
        return prepared.with_headers(
            {"KEY": self._key, "TS": str(config.timestamp_ms), "SIGN": signature}
        ).with_secrets(self._key)


class ApiError(msgspec.Struct):
    """The venue's error body."""

    error: str


class FtxLikeParser(HttpParser[ApiError]):
    """Tells wrong credentials from other errors."""

    api_error_type = ApiError

    def parse_api_error(self, status: int, api_error: ApiError) -> Exception:
        """Return the error that the body stands for."""
        if "Invalid login credentials" in api_error.error:
            return Unauthorised(api_error.error)
        return HttpResponse(status, api_error.error)


def venue(request: httpx.Request) -> httpx.Response:
    """Answer as the venue does, which computes the signature in its own way."""
    prehash = request.headers["TS"] + request.method + request.url.raw_path.decode()
    expected = hmac.new(SECRET.encode(), prehash.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers["SIGN"]):
        body = {"success": False, "error": "Not logged in: Invalid login credentials"}
        return httpx.Response(401, json=body)
    if request.url.path != "/api/wallet/balances":
        return httpx.Response(404, json={"success": False, "error": "No such path"})
    return httpx.Response(
        200, json={"success": True, "result": [{"coin": "BTC", "total": 1.5}]}
    )


def make_client(
    secret: str = SECRET, *, timestamp_ms: Callable[[], int] = lambda: 1_700_000_000_000
) -> RestClient:
    """Return a client of the venue in this program."""
    return RestClient(
        "https://ftx-like.example",
        RequestSigner(FtxLikeSigner(KEY, timestamp_ms), HmacKey(secret)),
        FtxLikeParser(),
        transport=HttpxTransport(httpx.MockTransport(venue)),
    )


async def main() -> list[Balance]:
    """Fetch and print the balances; show what a wrong secret brings."""
    async with make_client() as client:
        response, metric = await client.execute(FetchBalances())
    for balance in response.result:
        print(f"{balance.coin}: {balance.total}")
    print(f"HTTP {metric.tag('status_code')} in {metric.field('duration')} ms")

    async with make_client("wrong secret") as client:
        try:
            await client.execute(FetchBalances())
        except Unauthorised as error:
            print(f"with a wrong secret: {error}")
    return response.result


if __name__ == "__main__":
    trio.run(main)
