"""Page at `/`: a prompt and responses to rank by hand. One file, no outside hosts."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser may do for the page: run what it holds itself, and ask this service."""


def page_routes() -> APIRouter:
    """The page, for people; it needs no key, what it asks for does."""
    routes = APIRouter()
    text = files("cluster").joinpath("assets/page.html").read_text()

    @routes.get("/", include_in_schema=False, response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    return routes
