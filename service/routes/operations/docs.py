"""The interactive documentation. Its links are relative, so that it works under any path prefix."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from service.components import runtime_of
from service.edge.path_prefix import FORWARDED, told_prefix

router = APIRouter(include_in_schema=False)

FILES = "static-offline-docs"
"""Where Swagger's own files are."""
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def files() -> StaticFiles:
    """Swagger's own files, which come from this machine."""
    return StaticFiles(directory=Path(fastapi_offline.__file__).with_name("static"))


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The document; below a prefix it says so, for programs that are made from it."""
    document = request.app.openapi()
    if prefix := told_prefix(request, runtime_of(request).settings.prefix):
        document = {**document, "servers": [{"url": prefix}]}
    return JSONResponse(document, headers={"Vary": FORWARDED})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger's page, which no other page may frame, and which runs no script but its own."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="DiffCDR - Swagger UI",
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon.png",
    )
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _SCRIPT.findall(bytes(page.body))
    )
    page.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page
