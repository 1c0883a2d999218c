"""The console's page and files, the same for everyone. Its data comes from /v1, with the user's key."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from service.components import runtime_of
from service.edge.path_prefix import FORWARDED, told_prefix

router = APIRouter(include_in_schema=False)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
SHOWN = frozenset({".html", ".css", ".js", ".svg"})

_FILES = StaticFiles(directory=Path(str(files("service") / "console")))


@router.get("/")
@router.get("/console")
async def console(request: Request) -> Response:
    """To where the page's own files are found beside it; never to a host that a request names."""
    prefix = told_prefix(request, runtime_of(request).settings.prefix)
    return RedirectResponse(f"{prefix}/console/" if prefix else "console/", headers=HEADERS | {"Vary": FORWARDED})


@router.get("/console/{path:path}")
async def console_file(request: Request, path: str) -> Response:
    """The page, or one of its files."""
    path = path or "index.html"
    if Path(path).suffix not in SHOWN:
        raise HTTPException(404)
    response = await _FILES.get_response(path, request.scope)
    response.headers.update(HEADERS)
    return response
