"""The adapters through which outside suites reach the service."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import trio

from flowtrade.auth import generate_jwt
from flowtrade.serve import listen

ADAPTERS = Path(__file__).resolve().parents[1] / "adapters"
SECRET = "a secret of thirty-two characters!"


def load(name):
    spec = importlib.util.spec_from_file_location(name, ADAPTERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_verifier_is_the_one_the_server_uses():
    verify = load("jws").verify
    key = {"kty": "oct", "k": "A" * 43, "alg": "HS256"}
    token = load("jws").verify.__globals__["SigningKey"](key).sign(b"x")

    assert verify(token, key) == b"x"
    with pytest.raises(Exception, match="refused"):
        verify(token + "A", key)


def free_port():
    with listen("127.0.0.1", 0) as listening:
        return listening.getsockname()[1]


async def until_healthy(client, process):
    while True:
        assert process.poll() is None
        try:
            reply = await client.get("/health")
        except httpx.TransportError:
            await trio.lowlevel.checkpoint()
        else:
            return reply


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["jwt", "form"])
async def test_the_server_starts_serves_and_ends_on_sigterm(tmp_path, mode):
    port = free_port()
    command = [sys.executable, str(ADAPTERS / "server.py"), str(port), SECRET]
    command += ["--store", f"sqlite:{tmp_path / 'store.db'}"]
    product = str(uuid4())
    token = generate_jwt(None, SECRET, admin=True)
    if mode == "form":
        command += ["--authorizer", "form"]
        token = "can_manage_products=true"
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220, S603  # short
    try:
        with trio.fail_after(60):
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=120
            ) as client:
                assert (await until_healthy(client, process)).json() == {"status": "ok"}
                made = await client.post(
                    "/product",
                    content=json.dumps(product),
                    headers={
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/json",
                    },
                )
        assert made.status_code == 201
        assert (made.json()["id"] == product) == (mode == "form")
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert output == b""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: port"),
        (["99999"], "'99999'"),
        (["0", "short"], "at least 32"),
        (["0", "--store", "foo:bar"], "'foo:bar'"),
        (["0", "--authorizer", "none"], "invalid choice"),
        (["{taken}"], "in use by another program"),
    ],
)
def test_what_the_server_cannot_use_is_one_line(arguments, reason):
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        words = [word.replace("{taken}", port) for word in arguments]
        ended = subprocess.run(  # noqa: S603  # ours
            [sys.executable, str(ADAPTERS / "server.py"), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("server.py: ")
    assert reason in line
