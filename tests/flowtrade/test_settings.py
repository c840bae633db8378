"""Settings from file and environment."""

import pytest

from flowtrade.errors import InvalidRequest
from flowtrade.settings import Settings, Transparency, load_settings, resolve


def test_without_file_and_variables_the_defaults_hold():
    assert load_settings(environ={}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path):
    path = tmp_path / "flowtrade.toml"
    path.write_text(
        '[server]\nport = 1\npage_limit = 5\n[auction]\ntransparency = "book"\n'
    )

    settings = load_settings(
        path,
        {
            "FLOWTRADE_SERVER__PORT": "9000",
            "FLOWTRADE_SERVER__AUTO_SOLVE": "true",
            "FLOWTRADE_SCHEDULE__EVERY": "0.25",
            "FLOWTRADE_STORE__URL": "sqlite:/tmp/x",
            "FLOWTRADE_UNRELATED": "1",
            "OTHER_SERVER__PORT": "2",
        },
    )

    assert settings.server.port == 9000
    assert settings.server.page_limit == 5
    assert settings.server.auto_solve
    assert settings.schedule.every == 0.25
    assert settings.store.url == "sqlite:/tmp/x"
    assert settings.auction.transparency is Transparency.BOOK


@pytest.mark.parametrize(
    "variables",
    [
        {"FLOWTRADE_SERVER__PROT": "1"},
        {"FLOWTRADE_SEVRER__PORT": "1"},
        {"FLOWTRADE_SERVER__PORT": "x"},
        {"FLOWTRADE_SERVER__PORT": "65536"},
        {"FLOWTRADE_SCHEDULE__EVERY": "0"},
        {"FLOWTRADE_AUCTION__TRANSPARENCY": "all"},
    ],
)
def test_what_is_not_known_or_does_not_fit_is_refused(variables):
    with pytest.raises(InvalidRequest, match="settings"):
        load_settings(environ=variables)


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize("text", ["[server", "server = 1", "[server]\nprot = 1"])
def test_a_broken_file_is_refused(tmp_path, text):
    path = tmp_path / "flowtrade.toml"
    path.write_text(text)

    with pytest.raises(InvalidRequest):
        load_settings(path, {"FLOWTRADE_SERVER__PORT": "1"})


def test_every_value_says_where_it_came_from(tmp_path):
    path = tmp_path / "flowtrade.toml"
    path.write_text('[server]\nport = 1\nhost = "::1"\n[schedule]\nevery = 2\n')

    resolved = resolve(
        Settings,
        path,
        environ={
            "FLOWTRADE_SERVER__PORT": "2",
            "FLOWTRADE_STORE__URL": "postgresql://me:secret@db/x",
        },
        flags={"schedule.every": ("--every", 3.0)},
    )
    rows = {key: (value, source) for key, value, source in resolved.rows()}

    assert rows["server.host"] == ("::1", str(path))
    assert rows["server.port"] == (2, "FLOWTRADE_SERVER__PORT")
    assert rows["schedule.every"] == (3.0, "--every")
    assert rows["schedule.start"] == (None, "default")
    assert rows["store.url"] == ("postgresql://me:***@db/x", "FLOWTRADE_STORE__URL")
    assert "secret" not in str(rows)


@pytest.mark.parametrize(
    ("file", "variables", "message"),
    [
        ("[server]\nprot = 1", {}, r"server\.prot \(from .*toml\): .*unknown field"),
        ("", {"FLOWTRADE_SERVER__PORT": "x"}, r"server\.port \(from FLOWTRADE_SERVER"),
        ("server = 1", {}, r"server \(from .*toml\): Expected `object`"),
        ("server = 1", {"FLOWTRADE_SERVER__PORT": "1"}, "server is a table"),
        ("[server", {}, r"settings: .*toml: "),
    ],
)
def test_what_is_wrong_is_named_with_its_source(tmp_path, file, variables, message):
    path = tmp_path / "flowtrade.toml"
    path.write_text(file)

    with pytest.raises(InvalidRequest, match=message):
        resolve(Settings, path, environ=variables)


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "1e10"])
@pytest.mark.parametrize(
    "name", ["SCHEDULE__EVERY", "SERVER__GRACE", "AUCTION__RATE_UNIT"]
)
def test_spans_of_time_are_finite(name, value):
    with pytest.raises(InvalidRequest, match="float"):
        load_settings(environ={f"FLOWTRADE_{name}": value})
