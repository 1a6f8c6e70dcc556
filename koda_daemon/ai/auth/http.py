"""Small requests to the sign-in servers of providers: a form or JSON out, a JSON object back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import anyio.to_thread
import msgspec

from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import httpx2

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LIMIT = 256 * 1024
SECONDS = 20.0


def checked_url(url: str, path: str) -> str:
    """``url`` if credentials may be sent there: https, or a server on this machine. Raises ``params.invalid``."""
    try:
        parts = urlsplit(url)
        safe = parts.hostname is not None and (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        )
    except ValueError:
        safe = False
    if not safe:
        raise KodaError("params.invalid", f"{path} must be an https address.", path=path)
    return url


async def fetch(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    json: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> tuple[int, dict[str, Any]]:
    """Posts ``form`` or ``json``, or gets; gives the status and the JSON object (empty when it is none).

    Follows no redirects: a form with a token is for the server it was meant for. Raises ``provider.unreachable``; the
    texts of errors are left out, since they might repeat what was sent.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    client = await anyio.to_thread.run_sync(_client, url, seconds)
    import httpx2

    content = None
    sent = {"accept": "application/json", **(headers or {})}
    if form is not None:
        content = urlencode(form).encode("ascii")
        sent["content-type"] = "application/x-www-form-urlencoded"
    elif json is not None:
        content = msgspec.json.encode(json)
        sent["content-type"] = "application/json"
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async with (
                client,
                client.stream("GET" if content is None else "POST", url, content=content, headers=sent) as answer,
            ):
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _LIMIT:
                        raise KodaError("provider.unreachable", f"{host} answered with too much.")
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:  # TimeoutError is an OSError
        what = f"Cannot reach {host} ({type(error).__name__})."
        raise KodaError("provider.unreachable", what, retryable=True) from None
    try:
        value = msgspec.json.decode(bytes(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    return answer.status_code, value if isinstance(value, dict) else {}


def _client(url: str, seconds: float) -> httpx2.AsyncClient:
    # Made off the loop: importing it, and loading TLS roots, blocks.
    import httpx2

    from koda_daemon import __version__
    from koda_daemon.ai.http import certificates

    return httpx2.AsyncClient(
        timeout=seconds,
        verify=certificates(urlsplit(url).scheme),
        follow_redirects=False,
        trust_env=urlsplit(url).hostname not in _LOOPBACK,
        headers={"user-agent": f"koda-daemon/{__version__}"},
    )


_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,60}")


def error_code(body: Mapping[str, Any]) -> str:
    """The ``error`` of an OAuth answer (RFC 6749, 5.2), or of one that nests it; empty when there is none."""
    error = body.get("error")
    if isinstance(error, dict):
        error = error.get("code") or error.get("type")
    return error if isinstance(error, str) and _CODE.fullmatch(error) else ""
