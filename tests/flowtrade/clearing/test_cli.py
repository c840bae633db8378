import io
import json

import pytest

from flowtrade.clearing import Market, UnboundedMarket, Uncertified, clear, cli
from flowtrade.clearing.cli import ExitCode
from flowtrade.clearing.generate import generate
from flowtrade.clearing.testing import odd_auction

TRIVIAL = {
    "demand_curves": {
        "buyer": [{"rate": 0.0, "price": 10.0}, {"rate": 1.0, "price": 5.0}],
        "seller": [{"rate": -1.0, "price": 7.5}, {"rate": 0.0, "price": 7.5}],
    },
    "portfolios": {
        "buyer": {"demand": "buyer", "basis": "A"},
        "seller": {"demand": "seller", "basis": "A"},
    },
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "auction.json").write_text(json.dumps(TRIVIAL))
    return tmp_path


def test_solve_writes_the_outcome_the_anchor_writes(files, capsys):
    code = cli.solve_auction(str(files / "auction.json"))

    assert code is ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == {
        "portfolios": {
            "buyer": {"price": 7.5, "rate": 0.5},
            "seller": {"price": 7.5, "rate": -0.5},
        },
        "products": {"A": {"price": 7.5, "rate": 0.5}},
    }


def test_a_full_outcome_is_a_batch_that_verify_accepts(files, capsys):
    batch = files / "batch.json"
    cli.solve_auction(str(files / "auction.json"), str(batch), full=True)

    assert cli.verify_batch(str(batch)) is ExitCode.DONE

    assert json.loads(capsys.readouterr().out)["is_optimal"] is True
    stored = json.loads(batch.read_text())
    stored["outcome"]["portfolios"]["buyer"]["rate"] = 0.4
    batch.write_text(json.dumps(stored))
    assert cli.verify_batch(str(batch)) is ExitCode.FAILED
    batch.write_text("{}")
    assert cli.verify_batch(str(batch)) is ExitCode.INVALID


def test_standard_input_is_read(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(TRIVIAL)))

    assert cli.solve_auction() is ExitCode.DONE

    assert '"price": 7.5' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", ExitCode.INVALID, "no JSON"),
        ("{}", ExitCode.INVALID, "auction.demand_curves"),
        (
            '{"demand_curves": {"d": 7}, "portfolios": {}}',
            ExitCode.INVALID,
            "curve.type",
        ),
        (
            '{"demand_curves": {"b": {"price": 8}, "s": {"price": 7}}, "portfolios": '
            '{"b": {"demand": "b", "basis": "A"}, "s": {"demand": "s", "basis": "A"}}}',
            ExitCode.REFUSED,
            "unlimited",
        ),
    ],
)
def test_what_cannot_be_solved_is_told_on_standard_error(
    tmp_path, capsys, text, code, words
):
    path = tmp_path / "bad.json"
    path.write_text(text)

    assert cli.solve_auction(str(path)) is code

    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("extension", ["lp", "LP", "mps", "MPS"])
def test_export_infers_the_format_from_the_extension(files, extension):
    output = files / f"out.{extension}"

    assert cli.export_auction(str(files / "auction.json"), str(output)) is ExitCode.DONE

    start = "Maximize" if extension.lower() == "lp" else "NAME"
    assert output.read_text().startswith(start)


def test_export_without_a_known_format_is_refused(files, capsys):
    source = str(files / "auction.json")

    assert cli.export_auction(source, str(files / "out.txt")) is ExitCode.INVALID
    assert "unable to infer" in capsys.readouterr().err
    assert cli.export_auction(source, "-", file_format="mps") is ExitCode.DONE
    assert cli.export_auction(str(files), "-", file_format="xyz") is ExitCode.INVALID


def test_a_generated_file_is_the_generated_market(tmp_path):
    path = tmp_path / "market.json"

    assert cli.generate_auction("mixed", 40, 5, str(path), seed=7) is ExitCode.DONE

    market = Market.from_auction(json.loads(path.read_text()))
    expected = clear(generate("mixed", 40, 5, seed=7))
    assert clear(market).gains == pytest.approx(expected.gains, rel=1e-12)


def test_an_auction_survives_the_trip_through_columns():
    auction = odd_auction(11, orders=20)

    written = cli.auction_to_builtins(Market.from_auction(auction))

    assert clear(Market.from_auction(written)).digest == (
        clear(Market.from_auction(auction)).digest
    )


def test_bench_reports_medians(capsys):
    assert cli.bench_markets("paper", 30, 3, seeds=2) is ExitCode.DONE

    report = json.loads(capsys.readouterr().out)
    assert report["worst"] < 1e-9
    assert set(report["phases"]) >= {"build", "solve", "canonical"}
    assert (report["markets"], report["unbounded"]) == (2, 0)


@pytest.mark.parametrize("command", [cli.generate_auction, cli.bench_markets])
def test_an_unknown_kind_is_refused(command, capsys):
    assert command("nonsense", 1, 1) is ExitCode.INVALID
    assert "nonsense" in capsys.readouterr().err


def piped(monkeypatch, capsys, text, command, *arguments, **options):
    """One program of a pipe: what it says, and its exit code."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code = command(*arguments, **options)
    return code, capsys.readouterr().out


def test_every_command_is_a_filter(monkeypatch, capsys):
    code, auction = piped(
        monkeypatch, capsys, "", cli.generate_auction, "mixed", 12, 3, seed=4
    )
    assert code is ExitCode.DONE
    code, batch = piped(monkeypatch, capsys, auction, cli.solve_auction, full=True)
    assert code is ExitCode.DONE
    code, finding = piped(monkeypatch, capsys, batch, cli.verify_batch)
    assert code is ExitCode.DONE
    assert json.loads(finding)["is_optimal"] is True
    for name, start in (("lp", "Maximize"), ("mps", "NAME")):
        code, text = piped(
            monkeypatch, capsys, auction, cli.export_auction, file_format=name
        )
        assert code is ExitCode.DONE
        assert text.startswith(start)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"\\ud800'])
@pytest.mark.parametrize(
    "command",
    [cli.solve_auction, cli.verify_batch, lambda: cli.export_auction(file_format="lp")],
)
def test_what_is_no_json_is_told_by_every_reader(command, text, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))

    assert command() is ExitCode.INVALID

    assert "- is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("batch", ["[]", "7", "null", '{"auction": 1}'])
def test_a_batch_without_its_halves_is_told(batch, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(batch))

    assert cli.verify_batch() is ExitCode.INVALID

    assert "no complete batch" in capsys.readouterr().err


@pytest.mark.parametrize("command", [cli.solve_auction, cli.verify_batch])
def test_files_that_are_not_there_or_no_text_are_told(command, tmp_path, capsys):
    missing = str(tmp_path / "nowhere.json")
    assert command(missing) is ExitCode.INVALID
    assert missing in capsys.readouterr().err

    binary = tmp_path / "picture.json"
    binary.write_bytes(b"\x89PNG\xff")
    assert command(str(binary)) is ExitCode.INVALID
    assert str(binary) in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told(files, capsys):
    source, output = str(files / "auction.json"), str(files / "nowhere" / "out.lp")

    assert cli.solve_auction(source, output) is ExitCode.INVALID
    assert cli.export_auction(source, output) is ExitCode.INVALID
    assert cli.generate_auction("mixed", 3, 2, output) is ExitCode.INVALID
    assert cli.bench_markets("paper", 5, 2, seeds=1, output=output) is ExitCode.INVALID
    assert capsys.readouterr().err.count("cannot be written") == 4


@pytest.mark.parametrize(
    ("command", "sizes"),
    [
        (cli.generate_auction, (0, 3)),
        (cli.generate_auction, (3, -1)),
        (cli.bench_markets, (0, 3)),
        (cli.bench_markets, (5, 0)),
    ],
)
def test_sizes_of_nothing_are_refused(command, sizes, capsys):
    assert command("mixed", *sizes) is ExitCode.INVALID
    assert "must be positive" in capsys.readouterr().err


def test_bench_counts_markets_without_limit_and_goes_on(capsys, monkeypatch):
    real, calls = cli.clear, []

    def once(market, **options):
        calls.append(market)
        if len(calls) == 1:
            raise UnboundedMarket(ray={"x": 1.0}, orders={"d": 1.0}, gains=1.0)
        return real(market, **options)

    monkeypatch.setattr(cli, "clear", once)

    assert cli.bench_markets("paper", 10, 2, seeds=3) is ExitCode.DONE

    report = json.loads(capsys.readouterr().out)
    assert (report["markets"], report["unbounded"]) == (2, 1)


def test_an_unproven_answer_fails_the_command_and_writes_nothing(
    files, capsys, monkeypatch
):
    def refuse(market, **options):
        raise Uncertified(None, ())

    monkeypatch.setattr(cli, "clear", refuse)

    assert cli.solve_auction(str(files / "auction.json")) is ExitCode.FAILED
    assert cli.bench_markets("paper", 5, 2) is ExitCode.FAILED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "could be certified" in printed.err


@pytest.fixture
def spoilt(tmp_path):
    """The trivial auction, and an order whose weight is no weight."""
    auction = json.loads(json.dumps(TRIVIAL))
    auction["demand_curves"]["odd"] = TRIVIAL["demand_curves"]["buyer"]
    auction["portfolios"]["odd"] = {"demand": {"odd": -1e-320}, "basis": "A"}
    (tmp_path / "spoilt.json").write_text(json.dumps(auction))
    return tmp_path


def test_an_auction_that_cannot_be_proven_fails_unless_orders_may_be_set_aside(
    spoilt, capsys
):
    source = str(spoilt / "spoilt.json")

    assert cli.solve_auction(source) is ExitCode.FAILED
    assert "no answer could be certified" in capsys.readouterr().err

    assert cli.solve_auction(source, set_aside=True) is ExitCode.DONE
    out, err = capsys.readouterr()
    outcome = json.loads(out)
    assert outcome["portfolios"]["odd"] == {"price": 7.5, "rate": 0.0}
    assert outcome["portfolios"]["buyer"] == {"price": 7.5, "rate": 0.5}
    assert [one["portfolio"] for one in outcome["set_aside"]] == ["odd"]
    assert err == "set aside, for numbers far out of scale: odd\n"


def test_a_batch_without_an_order_can_be_verified(spoilt, capsys):
    batch = str(spoilt / "batch.json")
    source = str(spoilt / "spoilt.json")
    cli.solve_auction(source, batch, full=True, set_aside=True)
    capsys.readouterr()

    assert cli.verify_batch(batch) is ExitCode.DONE

    assert json.loads(capsys.readouterr().out)["set_aside"] == ["odd"]


def test_who_may_set_aside_writes_what_is_written_without_it(files, capsys):
    cli.solve_auction(str(files / "auction.json"))
    plain = capsys.readouterr().out

    cli.solve_auction(str(files / "auction.json"), set_aside=True)

    assert capsys.readouterr().out == plain
