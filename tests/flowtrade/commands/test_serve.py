"""The server's command: configuration, authorizer, start and stop."""

import json
import os
import signal
import sys
from functools import partial

import httpx
import pytest
import trio

pytest.importorskip("cyclopts")

from flowtrade.auth import SigningKey, generate_jwt
from flowtrade.commands.serve import make_authorizer
from flowtrade.errors import InvalidRequest
from flowtrade.settings import AuthSettings, Settings

SECRET = "a secret of thirty-two characters!"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):
        if name.startswith("FLOWTRADE_"):
            monkeypatch.delenv(name)


def test_every_setting_is_shown_with_its_source(run, tmp_path, monkeypatch):
    path = tmp_path / "market.toml"
    path.write_text('[store]\nurl = "sqlite:a.db"\n[[product]]\nname = "BTC"\n')
    monkeypatch.setenv("FLOWTRADE_SCHEDULE__EVERY", "2.5")

    code, out, _ = run("config", "show", "-c", path, "--port", 7, "--json")

    assert code == 0
    shown = json.loads(out)
    assert shown["store.url"] == {"value": "sqlite:a.db", "source": str(path)}
    assert shown["product[0].name"] == {"value": "BTC", "source": str(path)}
    assert shown["server.port"] == {"value": 7, "source": "--port"}
    assert shown["schedule.every"]["source"] == "FLOWTRADE_SCHEDULE__EVERY"
    assert shown["auth.keys"] == {"value": None, "source": "default"}


def test_lines_are_for_people(run):
    code, out, _ = run("config", "show")

    assert code == 0
    assert 'server.host = "127.0.0.1"' in out
    assert all(line.endswith("# default") for line in out.splitlines())


@pytest.mark.parametrize("command", [["serve"], ["config", "show"]])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server]\nprot = 1", "server.prot (from"),
        ("[server]\nport = 99999", "server.port (from"),
        ("[server", "market.toml"),
        ('[[product]]\nname = "a"\n[[product]]\nname = "a"', "two products"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    run, tmp_path, command, text, reason
):
    path = tmp_path / "market.toml"
    path.write_text(text)

    code, _, err = run(*command, "-c", path)

    assert code == 2
    assert reason in err
    assert len(err.splitlines()) == 1


def test_a_missing_file_is_named(run, tmp_path):
    code, _, err = run("serve", "-c", tmp_path / "none.toml")

    assert code == 2
    assert "none.toml: cannot be read" in err


@pytest.mark.parametrize(
    ("secret", "keys", "reason"),
    [
        (None, None, "neither was given"),
        (SECRET, "keys.json", "both were given"),
        ("short", None, "at least 32"),
        (None, "no-such-file", "No such file"),
        (None, "http://keys.example/", "https"),
    ],
)
async def test_tokens_need_one_kind_of_key(secret, keys, reason):
    settings = Settings(auth=AuthSettings(keys=keys))

    with pytest.raises(InvalidRequest, match=reason):
        await make_authorizer(settings, secret)


async def test_the_settings_say_what_is_asked_of_tokens():
    settings = Settings(auth=AuthSettings(require_expiry=False, audience="market"))
    authorizer = await make_authorizer(settings, SECRET)
    token = SigningKey.from_secret(SECRET).sign(b'{"admin":true,"aud":"market"}')

    assert (await authorizer.authorize(token)).can_run_batch()


async def test_it_serves_until_a_signal_and_takes_its_keys_from_a_file(tmp_path):
    secret = {"kty": "oct", "alg": "HS256", "kid": "k", "k": "A" * 43}
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [secret]}))
    config = tmp_path / "market.toml"
    config.write_text(
        f'[auth]\nkeys = "{keys}"\n[schedule]\nevery = 3600\n'
        f'[store]\nurl = "sqlite:{tmp_path / "a.db"}"\n[[product]]\nname = "BTC"\n'
    )
    command = [sys.executable, "-m", "flowtrade", "serve", "-c", str(config)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [*command, "--port", "0"],
                stderr=-1,
                check=False,
            )
        )
        said = b""
        while not said.endswith(b"\n"):
            said += await process.stderr.receive_some()
        url = said.decode().split("listening on ")[1].strip()
        token = generate_jwt(None, SigningKey(secret), admin=True)
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            headers = {"Authorization": f"Bearer {token}"}
            listed = (await client.get("/product", headers=headers)).json()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    assert [p["app_data"]["name"] for p in listed["results"]] == ["BTC"]


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "192.0.2.1:0"), ("no host.invalid", "cannot listen on no host")],
)
def test_an_address_that_is_not_ours_is_one_line(run, monkeypatch, host, reason):
    monkeypatch.setenv("FLOWTRADE_SECRET", SECRET)

    code, _, err = run("serve", "--host", host, "--port", "0")

    assert code == 2
    assert reason in err
    assert len(err.splitlines()) == 1
