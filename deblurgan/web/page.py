"""The page: what stands on it, and what is done when something of it is pressed."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from deblurgan.errors import DeblurganError
from deblurgan.files import shown
from deblurgan.web import runs
from deblurgan.web.restoring import Choices, Restored, Restoring
from deblurgan.web.sessions import Sessions
from deblurgan.weights.qualities import QUALITIES

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
EVERY = 5  # seconds between two looks at a run
_PROGRESS = gr.Progress()
_ALONE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_QUEUED: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "restoring"}


class Page(gr.Blocks):
    """A page that answers what is not as it should be with a line, where Gradio prints where that was found."""

    async def preprocess_data(self, *args: Any, **options: Any) -> Any:
        """Return what a function is called with."""
        try:
            return await super().preprocess_data(*args, **options)
        except (ValueError, LookupError, OSError) as error:
            line = str(error).strip().partition("\n")[0]
            raise gr.Error(f"refused: {line}", print_exception=False) from error
        except gr.Error as error:
            error.print_exception = False
            raise


def built(restoring: Restoring, sessions: Sessions, runs_folder: Path) -> gr.Blocks:
    """Return the page.

    Args:
        restoring: does the work.
        sessions: hold the files.
        runs_folder: of runs that may be looked at.
    """
    with Page(title="deblurgan", analytics_enabled=False) as page:
        gr.Markdown("# deblurgan\nTakes motion blur out of photographs and videos.")
        with gr.Row():
            quality = gr.Radio(
                list(QUALITIES) if restoring.quality else [],
                value=restoring.quality,
                label="Quality",
                info="preview and fast are quick, best takes several times as long",
                visible=restoring.quality is not None,
                scale=2,
            )
            strength = gr.Slider(
                0, 1, 1, step=0.05, label="Strength", info="how much of the result to take: 0 is the original"
            )
            tta = gr.Checkbox(label="Average over 8 flips and turns", info="slower, a little better")
        choices = [quality, strength, tta]
        with gr.Tab("Photographs"):
            _photographs(restoring, sessions, choices)
        with gr.Tab("Video"):
            _video(restoring, sessions, choices)
        with gr.Tab("Training"):
            _training(runs_folder)
        _api(restoring, sessions, choices)
    return page


def _photographs(restoring: Restoring, sessions: Sessions, choices: list[Any]) -> None:
    """Many photographs, each beside its original."""
    uploads = _uploads("Photographs", file_count="multiple")
    gr.Examples(sorted([[str(path)]] for path in EXAMPLES.glob("*.jpg")), [uploads], label="Examples")
    start, cancel = _buttons()
    messages = _messages()
    hidden: dict[str, Any] = {"interactive": False, "visible": False}
    slider = gr.ImageSlider(
        label="Before and after", buttons=["fullscreen"], max_height=900, elem_id="slider", **hidden
    )
    gallery = gr.Gallery(
        label="Restored; choose one to compare", allow_preview=False, columns=6, height="auto", buttons=[], **hidden
    )
    files = gr.File(label="Download", file_count="multiple", elem_id="results", **hidden)
    archive = gr.DownloadButton("Download all (zip)", visible=False)
    state = gr.State([])

    def all_of(results: Sequence[Restored], archived: Path | None = None) -> list[Any]:
        comparable = [result for result in results if result.shown]
        thumbnails = [(str(result.shown[2]), result.file.name) for result in comparable]
        return [
            gr.File(value=[str(result.file) for result in results] or None, visible=bool(results)),
            gr.DownloadButton(value=archived and str(archived), visible=archived is not None),
            gr.Gallery(value=thumbnails, visible=len(thumbnails) > 1),
            _compared(comparable[-1] if comparable else None),
            results,
        ]

    def restore_photographs(
        photographs: list[str] | None,
        quality: str | None,
        strength: float,
        tta: bool,
        before: list[Restored],
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> Iterator[list[Any]]:
        client = _client(request)
        sessions.release(client, [result.file for result in before])
        chosen = (quality, strength, tta)
        for results, lines in _work(restoring, sessions, client, photographs, chosen, progress, videos=False):
            yield [_said(lines), *all_of(results)]
        with _refused():
            archived = restoring.zipped(client, results)
        yield [_said(lines), *all_of(results, archived)]

    def removed(photographs: list[str] | None, results: list[Restored], request: gr.Request) -> list[Any]:
        there = {Path(path) for path in photographs or []}
        gone = [result.file for result in results if result.upload not in there]
        if not gone:
            return [gr.skip()] * 5
        client = _client(request)
        sessions.release(client, gone)
        results = [result for result in results if result.upload in there]
        with _refused():
            return all_of(results, restoring.zipped(client, results))

    def chosen(results: list[Restored], event: gr.SelectData) -> Any:
        comparable = [result for result in results if result.shown]
        if not comparable:  # of a page that was left too long
            return gr.skip()
        return _compared(comparable[event.index])

    outputs = [files, archive, gallery, slider, state]
    start.click(_begin(sessions), **_ALONE).then(
        restore_photographs,
        [uploads, *choices, state],
        [messages, *outputs],
        api_visibility="private",
        show_progress_on=[messages],
        **_QUEUED,
    )
    cancel.click(_cancel(sessions), **_ALONE)
    _followed(uploads, sessions).then(removed, [uploads, state], outputs, **_ALONE)
    gallery.select(chosen, [state], [slider], **_ALONE)


def _video(restoring: Restoring, sessions: Sessions, choices: list[Any]) -> None:
    """One video."""
    upload = _uploads("Video", file_count="single")
    start, cancel = _buttons()
    messages = _messages()
    player = gr.Video(label="Restored", interactive=False, buttons=[])
    file = gr.File(label="Download", interactive=False, elem_id="video-result")
    state = gr.State([])

    def restore_video(
        video: str | None,
        quality: str | None,
        strength: float,
        tta: bool,
        before: list[Restored],
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> Iterator[list[Any]]:
        client = _client(request)
        sessions.release(client, [result.file for result in before])
        wanted, chosen = [video] if video else None, (quality, strength, tta)
        for results, lines in _work(restoring, sessions, client, wanted, chosen, progress, videos=True):
            found = str(results[0].file) if results else None
            yield [_said(lines), found, found, results]

    def removed(video: str | None, results: list[Restored], request: gr.Request) -> list[Any]:
        if not results or (video and results[0].upload == Path(video)):
            return [gr.skip()] * 3
        sessions.release(_client(request), [results[0].file])
        return [None, None, []]

    start.click(_begin(sessions), **_ALONE).then(
        restore_video,
        [upload, *choices, state],
        [messages, file, player, state],
        api_visibility="private",
        show_progress_on=[messages],
        **_QUEUED,
    )
    cancel.click(_cancel(sessions), **_ALONE)
    _followed(upload, sessions).then(removed, [upload, state], [file, player, state], **_ALONE)


def _api(restoring: Restoring, sessions: Sessions, choices: list[Any]) -> None:
    """The same for programs."""
    uploads = _uploads("Files", file_count="multiple", visible=False)
    results = gr.File(label="Restored", file_count="multiple", visible=False)
    messages = gr.Textbox(label="Messages", visible=False)

    def restore(
        files: list[str],
        quality: str | None,
        strength: float,
        tta: bool,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> Iterator[tuple[list[str], str]]:
        """Restore photographs and videos; return the results, and lines about what failed or was not kept."""
        for found, lines in _work(restoring, sessions, _client(request), files, (quality, strength, tta), progress):
            yield [str(result.file) for result in found], _said(lines)

    gr.Button(visible=False).click(restore, [uploads, *choices], [results, messages], api_name="restore", **_QUEUED)


def _training(folder: Path) -> None:
    """A run, as it grows."""
    name = gr.Dropdown(runs.names(folder), value=None, label="Run", info=f"of `deblurgan train`, in {folder.name}")
    text = gr.Textbox(label="Last epoch", interactive=False)
    curves = gr.Image(label="Curves", interactive=False, format="png", buttons=["fullscreen"])
    samples = gr.Gallery(
        label="Samples, the latest first",
        interactive=False,
        format="png",
        columns=1,
        height="auto",
        object_fit="contain",
    )
    seen = gr.State(None)
    clock = gr.Timer(EVERY)

    def look(name: str | None, seen: Any) -> list[Any]:
        there = runs.names(folder)
        state = (there, name, name in there and runs.changed(folder, name))
        if state == seen:
            return [gr.skip()] * 5
        if name not in there:
            return [gr.Dropdown(choices=there), "", None, [], state]
        with _refused():
            run = runs.look_at(folder, name)
        return [gr.Dropdown(choices=there), run.text, run.curves, run.samples, state]

    gr.on([clock.tick, name.change], look, [name, seen], [name, text, curves, samples, seen], **_ALONE)


def _work(
    restoring: Restoring,
    sessions: Sessions,
    client: str,
    uploads: Sequence[str] | None,
    choices: tuple[Any, ...],
    progress: gr.Progress,
    **options: Any,
) -> Iterator[tuple[list[Restored], list[str]]]:
    """Restore, and yield all results and lines so far, after each file, and once where there is none."""
    paths = [Path(os.path.realpath(path)) for path in uploads or []]
    sessions.hold(client, paths)
    results: list[Restored] = []
    lines = [] if paths else ["nothing to restore: upload something first"]

    def tell(done: int, total: int, unit: str, text: str) -> None:
        progress((done, total), desc=text, unit=unit)

    with _refused():
        for found in restoring.restored(client, paths, Choices(*choices), tell, **options):
            if isinstance(found, str):
                lines.append(found)
            else:
                results.append(found)
            yield [*results], lines
    if not results:
        yield [], lines


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Let the page show an error of this package."""
    try:
        yield
    except DeblurganError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _uploads(label: str, **options: Any) -> gr.File:
    """A place to drop files; Gradio would fetch addresses that the API is given instead, which is refused."""
    place = gr.File(label=label, **options)
    moved = place.async_move_resource_to_block_cache

    async def of_folder(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("expected an uploaded file, received an address", print_exception=False)
        return await moved(path)

    place.async_move_resource_to_block_cache = of_folder
    return place


def _followed(uploads: gr.File, sessions: Sessions) -> Any:
    """Let a session hold what it has uploaded, until that is taken away."""
    known = gr.State([])

    def changed(now: list[str] | str | None, known: list[str], request: gr.Request) -> list[str]:
        files = [now] if isinstance(now, str) else now or []
        client = _client(request)
        sessions.hold(client, files)
        sessions.release(client, set(known).difference(files))
        return [str(file) for file in files]

    return uploads.change(changed, [uploads, known], [known], **_ALONE)


def _buttons() -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        return gr.Button("Restore", variant="primary"), gr.Button("Cancel")


def _messages() -> gr.Textbox:
    return gr.Textbox(label="Messages", interactive=False, lines=2)


def _begin(sessions: Sessions) -> Any:
    """What lets a new job run that an earlier one was cancelled before."""

    def begin(request: gr.Request) -> None:
        sessions[_client(request)].stop.clear()

    return begin


def _cancel(sessions: Sessions) -> Any:
    def cancel(request: gr.Request) -> None:
        sessions.stop(_client(request))

    return cancel


def _client(request: gr.Request) -> str:
    return str(request.session_hash)


def _compared(result: Restored | None) -> gr.ImageSlider:
    """A result beside its original; None: nothing."""
    if result is None:
        return gr.ImageSlider(value=None, visible=False)
    before, after, _ = map(str, result.shown)
    return gr.ImageSlider(value=(before, after), label=f"{shown(result.upload.name)}: before and after", visible=True)


def _said(lines: Sequence[str]) -> str:
    return "\n".join(lines)
