import runpy
from decimal import Decimal
from pathlib import Path

import pytest

from integration.errors import HttpResponse, Unauthorised

EXAMPLE = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "examples/signed_balances.py")
)


class Unknown(EXAMPLE["FetchBalances"], frozen=True):
    def path(self):
        return "/api/nowhere"


async def test_balances_are_fetched_over_a_signed_request():
    balances = await EXAMPLE["main"]()

    assert [(b.coin, b.total) for b in balances] == [("BTC", Decimal("1.5"))]


async def test_the_signature_is_the_published_one():
    # The seed's example in its own values: timestamp, method and path.
    prepared = EXAMPLE["make_client"]().build(EXAMPLE["FetchBalances"]())

    assert prepared.header("SIGN") == (
        "89f5b247f9ecfb383164f0665b6954c3d263ce5d6684c04386da3839ab79646e"
    )


async def test_wrong_credentials_are_unauthorised():
    with pytest.raises(Unauthorised, match="Invalid login credentials"):
        await EXAMPLE["make_client"]("wrong").execute(EXAMPLE["FetchBalances"]())


async def test_other_errors_keep_their_status_and_text():
    with pytest.raises(HttpResponse, match="No such path") as caught:
        await EXAMPLE["make_client"]().execute(Unknown())

    assert caught.value.status == 404
