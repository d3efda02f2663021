"""Console at `/`: a page for people, from files of the package and from no other host.

The page needs no key; its requests to the service do.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""What the page may do in a browser: run this service's files, and send requests to this
service."""


def add_console(app: FastAPI) -> None:
    """Add `/` and the files under `/console`."""
    folder = Path(str(files("cluster").joinpath("assets/console")))

    @app.get("/", include_in_schema=False)
    async def console(request: Request) -> Response:
        path = request.url.path
        if not path.endswith("/"):  # the page's own links are relative to it
            return RedirectResponse(f"{path}/")
        return FileResponse(folder / "index.html", headers=HEADERS)

    app.mount("/console", StaticFiles(directory=folder), name="console")
