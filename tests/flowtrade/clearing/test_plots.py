"""Pictures: the numbers behind them, that they are drawn, and what is missing."""

import subprocess
import sys

import numpy as np
import pytest

from flowtrade.clearing import Market, MissingExtra, clear
from flowtrade.clearing.cli import ExitCode, solve_auction
from flowtrade.clearing.generate import generate
from flowtrade.clearing.plots import (
    plot_clearing,
    plot_product,
    plot_rates,
    supply_and_demand,
)

AUCTION = {
    "demand_curves": {
        "b": [{"rate": 0, "price": 5}, {"rate": 1, "price": 4}],
        "s": [{"rate": -1, "price": 8}, {"rate": 0, "price": 7}],
        "t": {"min_rate": -3, "max_rate": 0, "price": 6},
    },
    "portfolios": {
        "b": {"demand": "b", "basis": {"A": 2}},
        "s": {"demand": "s", "basis": "A"},
        "$t_1$<i>": {"demand": {"t": 2}, "basis": {"A": 1, "B": 1}},
    },
}


def at(schedule, price):
    nearest = int(np.argmin(np.abs(schedule.price - price)))
    return schedule.bought[nearest], schedule.sold[nearest]


def test_supply_and_demand_follow_the_curves_and_the_weights():
    market = Market.from_auction(AUCTION)
    clearing = clear(market, reference={"A": 3.0, "B": 5.0})

    schedule = supply_and_demand(market, clearing, "A", steps=2001)

    # The buyer of two A each sees twice the price: all of 1 below a price of 2.
    assert at(schedule, 1.9)[0] == pytest.approx(2.0)
    assert at(schedule, 2.25)[0] == pytest.approx(1.0, abs=0.02)
    assert at(schedule, 2.6)[0] == 0.0
    assert at(schedule, 7.5)[1] == pytest.approx(
        0.5 + 1.5 * (clearing.products["B"].price + 7.5 > 12.0), abs=0.02
    )
    assert (np.diff(schedule.bought) <= 0.0).all()
    assert (np.diff(schedule.sold) >= 0.0).all()


@pytest.mark.parametrize("kind", ["mixed", "paper", "substitutes"])
def test_the_curves_cross_where_the_product_cleared(kind):
    market = generate(kind, 300, 5, seed=3)
    clearing = clear(market)

    for name, row in clearing.products.items():
        schedule = supply_and_demand(market, clearing, name)

        above = schedule.price > row.price
        assert (schedule.sold - schedule.bought)[above].min() >= -1e-6
        assert (schedule.bought - schedule.sold)[~above].min() >= -1e-6


def test_a_product_nobody_asked_about_is_a_key_error():
    market = Market.from_auction(AUCTION)

    with pytest.raises(KeyError, match="nothing"):
        supply_and_demand(market, clear(market), "nothing")


def test_a_product_without_orders_of_its_own_still_has_a_picture():
    pytest.importorskip("matplotlib")
    market = Market.from_auction(
        {
            "demand_curves": {},
            "portfolios": {"x": {"demand": "gone", "basis": "A"}},
        }
    )

    figure = plot_product(market, clear(market), "A")

    assert "no price" in figure.axes[0].get_title()


def test_pictures_show_price_range_volume_and_the_largest_rates(tmp_path):
    pytest.importorskip("matplotlib")
    market = Market.from_auction(AUCTION)
    clearing = clear(market)

    page = plot_clearing(market, clearing)
    page.savefig(tmp_path / "page.png")

    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    first, second, rates = page.axes
    price = clearing.products["A"].price
    assert first.get_title() == f"A: 0 at {price:.6g}"
    labels = [text.get_text() for text in first.get_legend().get_texts()]
    assert labels == ["bought", "sold", "supported", "cleared"]
    assert second.get_title().startswith("B: ")
    names = {label.get_text() for label in rates.get_yticklabels()}
    assert names == set(AUCTION["portfolios"])  # as they are, not as formulas


def test_rates_are_added_up_by_bidder():
    pytest.importorskip("matplotlib")
    market = generate("mixed", 60, 4, seed=1)
    clearing = clear(market)
    bidders = {name: "ab"[i % 2] for i, name in enumerate(clearing.portfolios)}

    (axes,) = plot_rates(clearing, bidders=bidders).axes

    widths = [bar.get_width() for bar in axes.patches]
    rates = clearing.arrays.rate
    assert sum(w for w in widths if w > 0) == pytest.approx(rates[rates > 0].sum())
    assert sum(w for w in widths if w < 0) == pytest.approx(rates[rates < 0].sum())
    assert len(axes.get_yticks()) == 2


def test_no_window_system_and_no_global_state_is_touched():
    pytest.importorskip("matplotlib")
    code = (
        "import sys\n"
        "from flowtrade.clearing import clear\n"
        "from flowtrade.clearing.generate import generate\n"
        "from flowtrade.clearing.plots import plot_clearing\n"
        "assert 'matplotlib' not in sys.modules\n"
        "market = generate('mixed', 20, 3, seed=1)\n"
        "plot_clearing(market, clear(market))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)  # noqa: S603 - our own code


def test_without_matplotlib_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    market = Market.from_auction(AUCTION)

    with pytest.raises(MissingExtra, match=r"install flowtrade\[plots\]") as caught:
        plot_rates(clear(market))

    assert (caught.value.extra, caught.value.library) == ("plots", "matplotlib")


@pytest.fixture
def auction_file(tmp_path):
    path = tmp_path / "auction.json"
    path.write_text(
        '{"demand_curves": {"b": [{"rate": 0, "price": 5}, {"rate": 1, "price": 4}]},'
        ' "portfolios": {"b": {"demand": "b", "basis": "A"}}}'
    )
    return str(path)


def test_solve_draws_on_request(auction_file, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "clearing.svg"

    code = solve_auction(auction_file, plot=str(picture))

    assert code is ExitCode.DONE
    assert "<svg" in picture.read_text()
    assert '"portfolios"' in capsys.readouterr().out


@pytest.mark.parametrize("missing", [True, False])
def test_solve_says_why_it_cannot_draw(
    auction_file, tmp_path, capsys, monkeypatch, missing
):
    pytest.importorskip("matplotlib")
    if missing:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    name = "clearing.png" if missing else "clearing.nonsense"

    code = solve_auction(auction_file, plot=str(tmp_path / name))

    assert code is ExitCode.INVALID
    said = capsys.readouterr().err
    assert ("flowtrade[plots]" if missing else "nonsense") in said


def test_a_notebook_gets_a_table_with_every_name_escaped():
    clearing = clear(Market.from_auction(AUCTION))

    page = clearing._repr_html_()

    assert "<h4>certified clearing</h4>" in page
    assert "$t_1$&lt;i&gt;" in page
    assert "<i>" not in page
    assert page.count("<tr>") == 2 + 2 + 3  # heads, products, portfolios
    assert "out_of_the_money" in page


def test_a_long_table_is_cut_and_says_so():
    clearing = clear(generate("mixed", 300, 30, seed=1))

    page = clearing._repr_html_()

    assert "and 10 more" in page
    assert f"and {300 - 20} more" in page
    largest = max(clearing.portfolios, key=lambda n: abs(clearing.portfolios[n].rate))
    assert largest in page
