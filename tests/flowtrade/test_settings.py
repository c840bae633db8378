"""Settings from file and environment."""

import pytest

from flowtrade.errors import InvalidRequest
from flowtrade.settings import Settings, Transparency, load_settings


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
