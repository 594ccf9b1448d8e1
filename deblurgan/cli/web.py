"""`deblurgan web`: a page for the browser."""

import importlib.util
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import (
    Weights,
    assume_option,
    command,
    engine_option,
    gathered,
    max_pixels_option,
    notice,
    path_type,
    precision_option,
    weight_path_option,
)
from deblurgan.errors import InputError
from deblurgan.restoring.memory import parse_size


def check_auth(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, str] | None:
    """Return a name and a password."""
    if value is None:
        return None
    user, colon, password = value.partition(":")
    if not (user and colon and password):
        raise click.BadParameter("expected USER:PASSWORD, neither empty")
    return user, password


@command("web", "Serve a page for the browser that restores pictures and videos.")
@weight_path_option
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, help="Port to listen on; 0: any free one.")
@click.option(
    "--auth",
    metavar="USER:PASSWORD",
    envvar="DEBLURGAN_WEB_AUTH",
    show_envvar=True,
    callback=check_auth,
    help="Ask for this name and password; others see what is on the command line.",
)
@click.option(
    "--share",
    is_flag=True,
    help="Make the page public, at an address that Gradio's servers give and all pictures then go through.",
)
@max_pixels_option
@click.option("--max_upload", metavar="SIZE", default="2GB", help="Refuse files that are larger.")
@click.option(
    "--runs",
    "runs_folder",
    type=path_type,
    metavar="FOLDER",
    default="weights",
    help="Folder of training runs that the page may show.",
)
@precision_option
@engine_option
@assume_option
def web(max_pixels: int | None, max_upload: str, runs_folder: Path, **options: Any) -> None:
    """Serve a page on which photographs and videos are dropped, restored, compared and downloaded; Ctrl-C ends it.

    It needs Gradio: pip install 'deblurgan[web]'. Only this machine can open it unless --host or --share say
    otherwise; nothing is sent elsewhere. One picture is computed at a time, others wait. What is uploaded is removed
    ten minutes after its page is closed, and at the end.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs Gradio: pip install 'deblurgan[web]'")
    from deblurgan.web.serving import Place, served

    weights = gathered(Weights, options)
    place = Place(**options, max_upload=parse_size(max_upload))

    def opened(quality: str | None) -> Any:
        return replace(weights, quality=quality).opened()

    try:
        with served(opened, place, max_pixels=max_pixels, runs_folder=runs_folder) as address:
            notice(f"Page: {address} (Ctrl-C ends it)")
            threading.Event().wait()
    except KeyboardInterrupt:
        notice("The page has ended.")
