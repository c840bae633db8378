import pytest

from integration.rest import PreparedRequest
from integration.signing import Credentials, okx
from netcore.clock import ManualClock


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_607_418_537_715_999_999, "2020-12-08T09:08:57.715Z"),
        (1_607_418_537_005_000_000, "2020-12-08T09:08:57.005Z"),
    ],
)
def test_times_are_iso_with_exactly_three_digits(time_ns, text):
    assert okx.iso_ms(time_ns) == text


def test_a_demo_account_is_announced():
    credentials = Credentials(key="k", secret="s", passphrase="p")
    strategy = okx.request_signer(credentials, ManualClock(), demo=True)
    prepared = PreparedRequest(method="GET", origin="https://x", raw_path=b"/x")

    assert strategy.build(None, prepared).header("x-simulated-trading") == "1"
