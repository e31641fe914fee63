"""The GraphiQL playground, served by Taskloom itself: no request leaves the server, and a strict CSP holds.

``page()`` answers a browser that opens the endpoint, ``routes()`` serves the files it loads. The files are built by
``python -m app.dashboard.build``; until they are there, the page says so and comes back by itself.
"""

from __future__ import annotations

from app.dashboard.playground import page, routes

__all__ = ["page", "routes"]
