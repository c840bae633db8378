"""The choice among equally good rates, where demands have no limit."""

from flowtrade.clearing import Market, clear


def test_a_shared_demand_without_limits_is_chosen_without_a_warning():
    # Warnings are errors here: -inf + inf was one, though nothing came of it.
    market = Market.from_auction(
        {
            "demand_curves": {"d": {"price": 4}},
            "portfolios": {
                "p": {"demand": "d", "basis": {"A": -1, "B": 0.5}},
                "q": {"demand": "d", "basis": {"B": -2}},
            },
        }
    )

    clearing = clear(market)

    assert [row.rate for row in clearing.portfolios.values()] == [0, 0]
    assert [row.price for row in clearing.products.values()] == [-5, -2]
