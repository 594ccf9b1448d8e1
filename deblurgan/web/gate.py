"""What of Gradio's server is let through: what the page and its API use, and no file but theirs."""

import re
from typing import Any

from starlette.responses import PlainTextResponse

from deblurgan.web.sessions import Sessions

_SERVED = re.compile(
    r"/|/(assets|static|svelte)/.*|/(config|favicon\.ico|login|logout|manifest\.json|robots\.txt|theme\.css)/?"
    r"|/gradio_api/(api|call|heartbeat|info|queue|run)/.*"
    r"|/gradio_api/(app_id|cancel|info|login_check|openapi\.json|reset|startup-events|theme\.css|token|user)/?"
    r"|/gradio_api/(upload|upload_progress)"
)
_FILE = re.compile(r"/gradio_api/file=(.*)", re.DOTALL)
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/(.*)")


class Gate:
    """Middleware that answers 404 to all but that; a session is connected as long as its page sends heartbeats.

    Gradio by itself would also fetch addresses for a client, show the interface of its server with scripts from
    elsewhere, convert recordings, and more that this page does not have.
    """

    def __init__(self, app: Any, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        file, heartbeat = _FILE.fullmatch(path), _HEARTBEAT.fullmatch(path)
        if not (self._sessions.has(file[1]) if file else _SERVED.fullmatch(path)):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
        elif heartbeat:
            with self._sessions.connected(heartbeat[1], page=True):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
