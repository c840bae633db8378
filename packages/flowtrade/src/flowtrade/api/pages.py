"""The pages and their files, read once when the application is made.

Served from memory under the names found in the folder, so no request can name another
file, and nothing waits for the disk. Every page works without a network.
"""

import hashlib
import mimetypes
from pathlib import Path
from typing import Final

import msgspec
from litestar import Response

from flowtrade.api.context import Api
from flowtrade.errors import NotFound

__all__ = ["Pages", "file", "page"]

_FOLDER: Final = Path(__file__).parent / "static"

_HEADERS: Final = {
    # Everything comes from here, and a script that somebody smuggles into app_data is
    # not run.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask again, with the entity tag
}


class _File(msgspec.Struct, frozen=True):
    data: bytes
    media_type: str
    etag: str


class Pages:
    """Files by their path below a folder.

    Args:
        folder: Read completely; a folder that is missing has no files.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def answer(self, request: Api, name: str) -> Response[bytes]:
        """Return a file, or 304 if the client has it.

        Raises:
            NotFound: There is no such file.
        """
        found = self._files.get(name)
        if found is None:
            raise NotFound("page", name)
        headers = {**_HEADERS, "ETag": found.etag}
        if request.headers.get("if-none-match") == found.etag:
            return Response(b"", status_code=304, headers=headers)
        return Response(found.data, media_type=found.media_type, headers=headers)


async def page(request: Api) -> Response[bytes]:
    """Serve a page: the market's, or the description's."""
    name = {"/": "index.html", "/docs": "docs.html", "/rapidoc": "docs.html"}[
        request.url.path.rstrip("/") or "/"
    ]
    return _pages(request).answer(request, name)


async def file(request: Api) -> Response[bytes]:
    """Serve a file that a page needs."""
    return _pages(request).answer(request, request.path_params["path"].lstrip("/"))


def _pages(request: Api) -> Pages:
    pages = request.app.state["pages"]
    assert isinstance(pages, Pages)  # noqa: S101  # put there by create_app
    return pages


def _read(path: Path) -> _File:
    data = path.read_bytes()
    guessed, _ = mimetypes.guess_type(path.name)
    media_type = guessed or "application/octet-stream"
    return _File(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
