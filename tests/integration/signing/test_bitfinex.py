from integration.rest import PreparedRequest
from integration.signing import Credentials, bitfinex
from netcore.clock import ManualClock

CREDENTIALS = Credentials(key="k", secret="s")
BARE = PreparedRequest(
    method="POST", origin="https://x", raw_path=b"/v2/auth/r/wallets"
)


def test_nonces_are_microseconds_and_only_grow():
    clock = ManualClock(now_ns=1_700_000_000_123_456_789)
    strategy = bitfinex.request_signer(CREDENTIALS, clock)

    first, second = (strategy.build(None, BARE) for _ in range(2))

    assert first.header("bfx-nonce") == "1700000000123456"
    assert second.header("bfx-nonce") == "1700000000123457"
