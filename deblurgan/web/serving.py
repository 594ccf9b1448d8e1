"""The server of the page, from its start to its end."""

import contextlib
import errno
import io
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from deblurgan.errors import InputError
from deblurgan.files import reason
from deblurgan.web.gate import Gate
from deblurgan.web.page import built
from deblurgan.web.restoring import Restoring
from deblurgan.web.sessions import Sessions

SWEEP = 60.0  # seconds between two
STATES = 200  # pages whose state is kept, the latest used: 0.1 MB each, and each call of a program is one


@dataclass(frozen=True)
class Place:
    """Where the page is served, and to whom.

    Attributes:
        host: the address to listen on.
        port: the same; 0 for one that is free.
        auth: name and password; None for none.
        share: whether Gradio's servers are to make it public.
        max_upload: bytes of the largest file that is taken.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    auth: tuple[str, str] | None = None
    share: bool = False
    max_upload: int = 2 * 10**9


@contextlib.contextmanager
def served(
    opened: Callable[[str | None], Any], place: Place, *, max_pixels: int | None, runs_folder: Path
) -> Iterator[str]:
    """Serve the page while the block runs, and yield its address; nothing is left behind.

    Args:
        opened: returns what restores with a quality, None for the default one, which is loaded before the start.
        place: where.
        max_pixels: of pictures; see `jobs.running.PictureOptions`.
        runs_folder: of runs that may be looked at.

    Raises:
        InputError: the place is taken or cannot be had.
    """
    port = _free_port(place)
    with tempfile.TemporaryDirectory(prefix="deblurgan-web-", ignore_cleanup_errors=True) as folder:
        _configure(folder, place.host)
        sessions = Sessions(Path(folder), place.max_upload)
        restoring = Restoring(opened, sessions, max_pixels)
        page = built(restoring, sessions, runs_folder)
        logging.getLogger("uvicorn.error").addFilter(_in_one_line)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # on which Gradio says what the caller does
                page.launch(
                    server_name=place.host,
                    server_port=port,
                    auth=place.auth,
                    share=place.share,
                    max_file_size=place.max_upload,
                    app_kwargs={"middleware": [Middleware(Gate, sessions=sessions, names=_names(place))]},
                    theme=gr.themes.Default(
                        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
                    ),
                    css="#results table button { display: none }",  # would take results away from the list alone
                    enable_monitoring=False,
                    footer_links=["api"],
                    inline=False,
                    prevent_thread_lock=True,
                    quiet=True,
                    run_history=False,
                    state_session_capacity=STATES,
                    ssr_mode=False,
                )
        except (OSError, ValueError) as error:
            raise InputError(f"{place.host}:{port}: the page cannot be served: {reason(error)}") from error
        sessions.keep()
        ended = threading.Event()
        threading.Thread(target=_sweep, args=(sessions, ended), daemon=True).start()
        try:
            if place.share and not page.share_url:
                raise InputError("--share: Gradio's servers gave no public address; can they be reached?")
            yield page.share_url or page.local_url
        finally:
            ended.set()
            page.close(verbose=False)
            restoring.end()


def _configure(folder: str, host: str) -> None:
    """Have Gradio keep its files in this folder, tell nobody of it, and reach its own server without a proxy.

    What the environment says to Gradio otherwise would open more than the options do.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_") and name != "GRADIO_ROOT_PATH"]:
        del os.environ[name]
    folder = os.path.realpath(folder)
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_EXAMPLES_CACHE": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "localhost", host]))


def _in_one_line(record: logging.LogRecord) -> bool:
    """Let a request that Gradio fails at be told in one line, whatever a client may have sent."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, Exception):
        record.msg, record.args = "a request failed: %s: %s", (type(error).__name__, reason(error))
        record.exc_info = None
    return True


def _names(place: Place) -> set[str] | None:
    """Return by what names the page is reached that trusts whoever reaches it; None: one that asks, or is public."""
    if place.auth or place.share:
        return None
    machine = socket.gethostname()
    return {name.lower() for name in ("localhost", place.host, machine, f"{machine}.local")}


def _free_port(place: Place) -> int:
    """Return the port to listen on; raise `InputError` where that cannot be."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            return int(found.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"--port {place.port}: in use on {place.host}; choose another, or 0 for a free one"
            ) from error
        raise InputError(f"{place.host}:{place.port}: cannot be listened on: {reason(error)}") from error


def _sweep(sessions: Sessions, ended: threading.Event) -> None:
    while not ended.wait(SWEEP):
        sessions.sweep()
