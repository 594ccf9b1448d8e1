"""What the gate lets through of requests, by themselves: without a server."""

import asyncio
import contextlib

import pytest

pytest.importorskip("starlette")

from deblurgan.web.gate import Gate
from deblurgan.web.sessions import MOST, Sessions

LARGEST = 100


def done(coroutine):
    """Run to its end; `asyncio.run` would let go of the loop that Gradio leaves open."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(coroutine)


def answered(folder, path, chunks, **headers):
    """The status of the answer, None where there is none, and what reached the server behind the gate."""
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    parts.append({"type": "http.request", "body": b"", "more_body": False})
    reached, sent = [], []

    async def server(scope, receive, send):
        more = True
        while more:
            message = await receive()
            reached.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    done(Gate(server, Sessions(folder, LARGEST))(scope, receive, send))
    return sent[0], b"".join(reached)


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/restore", "/login"])
def test_a_request_is_no_longer_than_it_has_to_be(tmp_path, path):
    assert answered(tmp_path, path, [b'{"session_hash": ', b'"a"}']) == (200, b'{"session_hash": "a"}')
    assert answered(tmp_path, path, [b"[" * 2**10] * 2**11) == (413, b"")


@pytest.mark.parametrize("headers", [{}, {"content_length": "1", "transfer_encoding": "chunked"}])
def test_an_upload_whose_size_is_not_said_is_counted_as_it_comes(tmp_path, headers):
    path = "/gradio_api/upload"
    assert answered(tmp_path, path, [b"x" * LARGEST] * MOST, **headers) == (200, b"x" * LARGEST * MOST)
    status, reached = answered(tmp_path, path, [b"x" * LARGEST] * 50, **headers)
    assert (status, len(reached)) == (507, LARGEST * MOST)


def test_the_page_has_no_websockets(tmp_path):
    async def server(scope, receive, send):
        raise AssertionError("reached")

    done(Gate(server, Sessions(tmp_path, LARGEST))({"type": "websocket", "path": "/"}, None, None))
