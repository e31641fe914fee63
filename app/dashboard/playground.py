"""The playground's page and files, with the headers that keep everything else out."""

from __future__ import annotations

import mimetypes
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from app.dashboard.places import PLACES, TYPICAL_SECONDS, Places

if TYPE_CHECKING:
    from starlette.types import Scope

ASSETS = "/graphql/assets"
CSP = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; font-src 'self' data:; "
    # The editor writes the rules of its theme into style elements.
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_COMMAND = "python -m app.dashboard.build"

_NOTICE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{seconds}">
<title>Taskloom · GraphiQL</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 18vh auto 0; padding: 0 1.5rem; }}
h1 {{ font-size: 1.5rem; }}
code, pre {{ font: 0.9rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
pre {{ border-left: 3px solid #d60590; padding-left: 1rem; }}
</style>
</head>
<body><main><h1>{title}</h1>{body}
<p>The endpoint works meanwhile: send GraphQL requests with POST to this address.</p></main></body>
</html>
"""


def page(places: Places = PLACES) -> Response:
    """The playground for a browser, or a notice with status 503 that reloads itself while it is not built yet."""
    try:
        html = places.index.read_text()
    except FileNotFoundError:
        return _notice(places)
    return HTMLResponse(html, headers={**_HEADERS, "cache-control": "no-cache"})


def routes(places: Places = PLACES) -> list[BaseRoute]:
    """The route of the files that the page loads."""
    return [Mount(ASSETS, BuiltFiles(directory=places.site, check_dir=False))]


class BuiltFiles(StaticFiles):
    """Files whose names hold a hash of their content: kept by browsers for ever, and sent compressed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or its compressed twin where the client takes gzip. Raises HTTPException (404) for others."""
        zipped = "gzip" in Headers(scope=scope).get("accept-encoding", "") and self.lookup_path(f"{path}.gz")[1]
        response = await super().get_response(f"{path}.gz" if zipped else path, scope)
        response.headers.update(_HEADERS)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        response.headers["vary"] = "accept-encoding"
        if zipped:
            response.headers["content-encoding"] = "gzip"
            response.headers["content-type"] = mimetypes.guess_type(Path(path).name)[0] or "application/octet-stream"
        return response


def _notice(places: Places) -> Response:
    if places.is_building():
        title, seconds = "GraphiQL is being built", 2
        body = f"<p>This takes about {TYPICAL_SECONDS} seconds, once. The page comes by itself.</p>"
    elif reason := places.failure():
        title, seconds = "GraphiQL could not be built", 15
        body = f"<pre>{escape(reason)}</pre><p>Build it again with <code>{_COMMAND}</code>.</p>"
    else:
        title, seconds = "GraphiQL is not built", 5
        body = f"<p>Build it with <code>{_COMMAND}</code>; it takes about {TYPICAL_SECONDS} seconds, once.</p>"
    html = _NOTICE.format(title=title, seconds=seconds, body=body)
    return HTMLResponse(html, status_code=503, headers={**_HEADERS, "cache-control": "no-store"})
