"""What of Gradio's server is let through: what the page and its API use, and no file but theirs."""

import contextlib
import errno
import ipaddress
import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from deblurgan.web.sessions import Sessions

_SERVED = re.compile(
    r"/|/(assets|static|svelte)/.*|/(config|favicon\.ico|login|logout|manifest\.json|robots\.txt|theme\.css)/?"
    r"|/gradio_api/(heartbeat|info|queue)/.*"
    r"|/gradio_api/(api|call|run)/(predict|restore)(/.*)?"
    r"|/gradio_api/(app_id|cancel|info|login_check|openapi\.json|reset|startup-events|theme\.css|token|user)/?"
    r"|/gradio_api/(upload|upload_progress)"
)
_FILE = re.compile(r"/gradio_api/file=(.*)", re.DOTALL)
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/(.*)")
_UPLOAD = "/gradio_api/upload"
_JOIN = "/gradio_api/queue/join"
_MOST = 2**20  # bytes of a request that uploads nothing: what is asked for, with the names of files


class Gate:
    """Middleware that answers 404 to all but that; a session is connected as long as its page sends heartbeats.

    Gradio by itself would also fetch addresses for a client, show the interface of its server with scripts from
    elsewhere, convert recordings, and more that this page does not have. It would let pages of other sites upload
    and, where the server is no `localhost`, read.

    Args:
        app: what is behind it.
        sessions: whose files are served.
        names: of the server, besides IP addresses; other sites may have their names lead here. None: any.
    """

    def __init__(self, app: Any, sessions: Sessions, names: Collection[str] | None = None) -> None:
        self._app = app
        self._sessions = sessions
        self._names = names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":  # the server's start and end: the page has no other kind
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not (self._names is None or _is_named(headers, self._names)):
            await PlainTextResponse("Refused: open the page by its IP address, or start it with --auth", 421)(
                scope, receive, send
            )
            return
        if _is_of_another_site(headers, scope["method"]):
            await PlainTextResponse("Refused: asked for by a page of another site", 403)(scope, receive, send)
            return
        path = scope["path"]
        file, heartbeat = _FILE.fullmatch(path), _HEARTBEAT.fullmatch(path)
        if not (self._sessions.has(file[1]) if file else _SERVED.fullmatch(path)):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
        elif heartbeat:
            with self._sessions.connected(heartbeat[1], page=True):
                await self._app(scope, receive, send)
        elif path == _UPLOAD:
            await self._upload(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        else:
            await self._asked(scope, receive, send)

    async def _upload(self, scope: Any, receive: Any, send: Any) -> None:
        """Take files, unless there are too many already."""
        headers = Headers(scope=scope)
        size = "" if "transfer-encoding" in headers else headers.get("content-length", "")
        if not self._sessions.takes(int(size) if size.isdecimal() else 0):
            await PlainTextResponse("Refused: too many files are waiting here; try later", 507)(scope, receive, send)
            return

        async def counted() -> Any:
            message = await receive()
            if not size.isdecimal() and not self._sessions.takes(len(message.get("body", b""))):
                raise OSError(errno.ENOSPC, "too many files are waiting here")
            return message

        try:
            await self._app(scope, counted, send)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            await PlainTextResponse("Refused: the server's disk is full", 507)(scope, receive, send)

    async def _asked(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on what is no longer than it has to be; a job has to be of a session: it would be queued, and fail."""
        content = bytearray()
        async for chunk in Request(scope, receive).stream():
            content += chunk
            if len(content) > _MOST:
                await PlainTextResponse(f"Refused: expected at most {_MOST} bytes", 413)(scope, receive, send)
                return
        with contextlib.suppress(ValueError, RecursionError):  # which Gradio refuses, too
            is_job = scope["path"] == _JOIN and isinstance(body := json.loads(content), dict)
            if is_job and not body.get("session_hash"):
                await PlainTextResponse("Refused: expected a session_hash", 400)(scope, receive, send)
                return
        messages = [{"type": "http.request", "body": bytes(content), "more_body": False}]

        async def again() -> Any:
            return messages.pop() if messages else await receive()

        await self._app(scope, again, send)


def _is_named(headers: Headers, names: Collection[str]) -> bool:
    """Whether a request is for an IP address or one of these names."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        return name in names or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _is_of_another_site(headers: Headers, method: str) -> bool:
    """Whether a page of another site asks for more than a link or an image does."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site:
        other = site not in ("same-origin", "none")
    else:  # an old browser, or an address without HTTPS, for which browsers do not tell
        other = origin is not None and origin.partition("://")[2] != headers.get("host")
    return other and (origin is not None or method not in ("GET", "HEAD"))
