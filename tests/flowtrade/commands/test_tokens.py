"""Keys and tokens from the command line, good at the server's authorizer."""

import json
import stat
from uuid import UUID

import pytest

pytest.importorskip("cyclopts")

from flowtrade.auth import JwtAuthorizer, key_source
from flowtrade.errors import Unauthorized

SECRET = "a secret of thirty-two characters!"
BIDDER = str(UUID(int=7))


@pytest.fixture(autouse=True)
def no_secret(monkeypatch):
    monkeypatch.delenv("FLOWTRADE_SECRET", raising=False)


@pytest.fixture
def run(run):
    def stripped(*arguments):
        code, out, err = run(*arguments)
        return code, out.strip(), err.strip()

    return stripped


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
async def test_a_new_key_signs_tokens_that_its_public_set_proves(
    run, tmp_path, algorithm
):
    private, public = tmp_path / "private.json", tmp_path / "keys.json"
    code, kid, _ = run("keygen", private, "--public", public, "--algorithm", algorithm)
    assert code == 0
    _, token, _ = run("token", "--bidder", BIDDER, "--key", private)

    authorizer = await JwtAuthorizer.from_source(key_source(str(public)))
    grant = await authorizer.authorize(token)

    assert grant.can_create_bid() == BIDDER
    assert not grant.can_run_batch()
    assert json.loads(private.read_text())["kid"] == kid
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    (shown,) = json.loads(public.read_text())["keys"]
    assert not {"d", "p", "q"} & set(shown)


async def test_old_keys_stay_in_the_set_until_they_are_removed(run, tmp_path):
    public = tmp_path / "keys.json"
    tokens = []
    for name in ("first", "second"):
        private = tmp_path / name
        run("keygen", private, "--public", public, "--kid", name)
        tokens.append(run("token", "--admin", "--key", private)[1])

    authorizer = await JwtAuthorizer.from_source(key_source(str(public)))

    for token in tokens:
        assert (await authorizer.authorize(token)).can_run_batch()


async def test_a_secret_signs_too(run, monkeypatch):
    monkeypatch.setenv("FLOWTRADE_SECRET", SECRET)
    code, token, shown = run("token", "--new-bidder", "--hours", "0.5")
    assert code == 0

    grant = await JwtAuthorizer.from_secret(SECRET).authorize(token)

    assert shown == f"bidder {grant.can_create_bid()}"
    with pytest.raises(Unauthorized):
        await JwtAuthorizer.from_secret(SECRET[::-1]).authorize(token)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--secret", SECRET], "for a bidder"),
        (["--admin"], "sign with either"),
        (["--admin", "--secret", "short"], "at least 32"),
        (["--admin", "--secret", SECRET, "--key", "x"], "sign with either"),
        (["--admin", "--key", "no-such-file"], "no-such-file: No such file"),
        (["--bidder", "bob", "--secret", SECRET], "--bidder"),
        (["--bidder", BIDDER, "--new-bidder", "--secret", SECRET], "not both"),
        (["--admin", "--secret", SECRET, "--hours", "0"], "positive time"),
        (["--admin", "--secret", SECRET, "--hours", "nan"], "positive time"),
    ],
)
def test_what_makes_no_token_is_one_line_and_code_2(run, arguments, reason):
    code, out, err = run("token", *arguments)

    assert (code, out) == (2, "")
    assert reason in err
    assert SECRET not in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"kty": "OKP"}'])
def test_a_file_that_is_no_key_is_refused(run, tmp_path, content):
    path = tmp_path / "key.json"
    path.write_text(content)

    code, _, err = run("token", "--admin", "--key", path)

    assert code == 2
    assert len(err.splitlines()) == 1


def test_keys_replace_nothing(run, tmp_path):
    private, public = tmp_path / "private.json", tmp_path / "keys.json"
    private.write_text("mine")
    assert run("keygen", private)[0] == 2
    assert private.read_text() == "mine"

    public.write_text("{}")
    assert run("keygen", tmp_path / "new", "--public", public)[0] == 2
    assert public.read_text() == "{}"
    assert not (tmp_path / "new").exists()

    public.unlink()
    assert run("keygen", tmp_path / "a", "--public", public, "--kid", "k")[0] == 0
    code, _, err = run("keygen", tmp_path / "b", "--public", public, "--kid", "k")
    assert code == 2
    assert "has a key 'k' already" in err
