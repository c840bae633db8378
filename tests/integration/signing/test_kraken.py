from integration.rest import PreparedRequest
from integration.signing import Credentials, kraken
from netcore.clock import ManualClock

CREDENTIALS = Credentials(key="k", secret="AAEC")
BARE = PreparedRequest(method="POST", origin="https://x", raw_path=b"/0/private/X")


def test_a_request_without_parameters_becomes_a_form_with_its_nonce():
    clock = ManualClock(now_ns=1_700_000_000_123_000_000)
    strategy = kraken.request_signer(CREDENTIALS, clock)

    first, second = (strategy.build(None, BARE) for _ in range(2))

    assert first.body == "nonce=1700000000123"
    assert second.body == "nonce=1700000000124"
    assert first.header("Content-Type") == "application/x-www-form-urlencoded"


def test_a_request_may_bring_its_own_nonce():
    strategy = kraken.request_signer(CREDENTIALS, ManualClock())
    own = BARE.with_form({"pair": "XBTUSD", "nonce": 7})

    assert strategy.build(None, own).body == "pair=XBTUSD&nonce=7"
