"""Signs a request as a venue wants it, for suites that check signatures from outside.

`sign(case)` takes exchange, api, method, path, params, ts_ms, key, secret, passphrase
and returns url, body and headers. A path that starts with a slash is taken whole;
any other is put behind the prefix of the exchange's `api`.
"""

from typing import Any

from integration.signing import Credentials
from integration.signing.recipes import Call, sign_call
from netcore.clock import ManualClock


def sign(case: dict[str, Any]) -> dict[str, Any]:
    """Return the url, body and headers of a signed request.

    Raises:
        ValueError: The exchange is not known, or has no such `api`.
    """
    credentials = Credentials(
        key=case["key"],
        secret=case["secret"],
        passphrase=case.get("passphrase") or "",
    )
    api = case.get("api")
    call = Call(
        method=str(case["method"]),
        path=case["path"],
        params=case.get("params") or {},
        api=None if api is None else str(api),
    )
    clock = ManualClock(now_ns=int(case["ts_ms"]) * 1_000_000)
    signed = sign_call(str(case["exchange"]), call, credentials, clock).request
    body = signed.body if signed.content else None
    return {"url": signed.url, "body": body, "headers": dict(signed.headers)}
