"""One HTTP request and its answer, bounded in size, with nothing of either in any log."""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextvars
import logging
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import orjson

if TYPE_CHECKING:
    import httpx2

MOST_REDIRECTS = 10
REDACTED = "[redacted]"
USER_AGENT = "taskloom"
SECRET = re.compile(
    r"cookie|auth|token|secret|password|passwd|credential|session|signature|api-?key|csrf", re.IGNORECASE
)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)

_exchanging: contextvars.ContextVar[bool] = contextvars.ContextVar("exchanging", default=False)


class NoAnswer(Exception):
    """The server could not be reached, or the connection broke before the whole answer was there."""


class NotSendable(Exception):
    """The request, or the one that a redirect leads to, is none that can be sent."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request; ``json`` is empty or holds one value."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None
    json: tuple[Any, ...]
    follow_redirects: bool
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, as much of it as was read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_cut: bool
    redirects: int

    def header(self, name: str) -> str | None:
        """The first header of a name in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def shown_headers(self) -> dict[str, str]:
        """The headers as they may be stored: secrets redacted, repeated ones joined."""
        shown: dict[str, str] = {}
        for name, value in self.headers:
            text = REDACTED if SECRET.search(name) else CONTROL.sub(" ", value)
            shown[name] = text if name not in shown or text == REDACTED else f"{shown[name]}, {text}"
        return shown

    def text(self) -> tuple[str, bool]:
        """The body as text, or in base64 where it is none; and which of the two it is."""
        if self.header("content-encoding") in (None, "identity"):
            found = CHARSET.search(self.header("content-type") or "")
            for charset in (found[1] if found else "utf-8", "utf-8"):
                text = _decoded(self.body, charset, whole=not self.is_cut)
                if text is not None and not NOT_TEXT.search(text):
                    return text, False
        return base64.b64encode(self.body).decode(), True

    def retry_after(self) -> float | None:
        """After how many seconds another attempt is welcome, or None when the answer does not say."""
        value = (self.header("retry-after") or "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:12])
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())


async def exchange(question: Question) -> Answer:
    """Send a request and read the answer. Raises ``NoAnswer`` and ``NotSendable``, which quote nothing of it."""
    import httpx2

    _exchanging.set(True)
    _keep_quiet()
    context = await asyncio.to_thread(_tls)
    try:
        # The time is limited from outside; Accept-Encoding because a compressed answer could unpack to any size.
        async with httpx2.AsyncClient(verify=context, timeout=None) as client:
            return await _follow(client, _request(client, question), question)
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        raise NotSendable(f"the request cannot be sent ({type(error).__name__})") from None
    except (httpx2.TransportError, httpx2.StreamError, OSError) as error:
        raise NoAnswer(f"no answer ({type(error).__name__}{_cause(error)})") from None


def _request(client: httpx2.AsyncClient, question: Question) -> httpx2.Request:
    defaults = {"accept": "*/*", "accept-encoding": "identity", "user-agent": USER_AGENT}
    content = question.body
    if question.json:
        content = orjson.dumps(question.json[0])
        defaults["content-type"] = "application/json"
    elif content is not None:
        defaults["content-type"] = "text/plain; charset=utf-8"
    given = {name.lower(): value.encode() for name, value in question.headers.items()}
    encoded = {name: value.encode() for name, value in defaults.items()}
    headers = [(name.encode(), value) for name, value in {**encoded, **given}.items()]
    return client.build_request(question.method, question.url, headers=headers, content=content)


async def _follow(client: httpx2.AsyncClient, request: httpx2.Request, question: Question) -> Answer:
    """Redirects are followed here, because the client would read their bodies however long they are."""
    for redirects in range(MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            onward = response.next_request
            if not question.follow_redirects or onward is None or redirects == MOST_REDIRECTS:
                body, is_cut = await _read(response, question.max_bytes)
                headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
                return Answer(response.status_code, headers, body, is_cut, redirects)
        finally:
            await response.aclose()
        if onward.url.origin != request.url.origin:
            for name in [name for name in onward.headers if SECRET.search(name)]:
                del onward.headers[name]
        request = onward
    raise AssertionError("the last round returns")


async def _read(response: httpx2.Response, most: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            return bytes(body[:most]), True
    return bytes(body), False


@cache
def _tls() -> ssl.SSLContext:
    """The trusted certificates, read once: that takes a third of a second."""
    import httpx2

    return httpx2.create_ssl_context()


class _NothingOfExchanges(logging.Filter):
    """Drops what the client logs of our requests: whole URLs, and at DEBUG the headers."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _exchanging.get()


@cache
def _keep_quiet() -> None:
    for name in ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
        logging.getLogger(name).addFilter(_NothingOfExchanges())


def _cause(error: BaseException) -> str:
    """The operating system's words at the root of an error; others might quote the request."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f": {seen.verify_message}"
        if isinstance(seen, OSError) and seen.errno is not None and seen.errno > 0:
            return f": {os.strerror(seen.errno)}"
        seen = seen.__cause__ or seen.__context__
    return ""


def _decoded(data: bytes, charset: str, *, whole: bool) -> str | None:
    """Bytes as text, without the half of a character at a cut; None when they are none in that encoding."""
    try:
        return codecs.getincrementaldecoder(charset)().decode(data, final=whole)
    except (LookupError, ValueError):
        return None


def split(url: str) -> SplitResult | None:
    """The parts of an http or https URL, or None when it is none."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if valid else None


def place_of(url: str) -> str:
    """Host and path of a URL, which is all that is logged of it."""
    parts = urlsplit(url)
    return f"{parts.netloc.rsplit('@', 1)[-1]}{parts.path or '/'}"


def has_control_characters(text: str) -> bool:
    """Whether a text has characters that end a line or a header."""
    return CONTROL.search(text) is not None
