"""Pages: offline, guarded, cached."""

import re
from pathlib import Path

import pytest

import flowtrade.api
from flowtrade.api.pages import Pages
from flowtrade.testing.bench import open_bench

STATIC = Path(flowtrade.api.__file__).parent / "static"


@pytest.fixture
async def client():
    async with open_bench() as bench, bench.client() as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/docs", "/rapidoc", "/static/app.js"])
async def test_a_page_comes_with_its_guard(client, path):
    reply = await client.get(path)

    assert reply.status_code == 200
    policy = reply.headers["content-security-policy"]
    assert policy == "default-src 'self'; style-src 'self' 'unsafe-inline'"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_file_that_is_known_is_not_sent_again(client):
    first = await client.get("/static/app.js")
    again = await client.get(
        "/static/app.js", headers={"If-None-Match": first.headers["etag"]}
    )

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/none.js",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
    ],
)
async def test_no_other_file_is_served(client, path):
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(STATIC.rglob("*")) if p.suffix in {".html", ".js", ".css"}],
    ids=lambda path: path.name,
)
def test_what_is_referenced_is_served_from_here(path):
    text = path.read_text()
    if "vendor" in path.parts:
        pytest.skip("vendored: held back by the policy above")

    assert re.findall(r"https?://(?!www\.w3\.org/)[\w.]+", text) == []
    pages = Pages()._files
    for name in re.findall(r"[\"'](/static/[^\"'#?]+)[\"']", text):
        assert name.removeprefix("/static/") in pages


def test_a_folder_that_is_missing_has_no_files(tmp_path):
    assert Pages(tmp_path / "none")._files == {}
