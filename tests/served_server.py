"""A real HTTP server on loopback that speaks OpenAI's protocol and misbehaves on purpose, for tests of served models.

Images carry their number in their first pixel, so that it knows which one it is asked about.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import io
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WAYS = ("429", "500", "slow", "cut", "malformed", "refusal")
SLOW = 2.0
"""Seconds of the slow way; clients should give up sooner."""


def numbered_image(number: int, size: tuple[int, int] = (16, 12)) -> Image.Image:
    pixels = np.full((size[1], size[0], 3), 90, dtype=np.uint8)
    pixels[0, 0] = (number // 256, number % 256, 7)
    return Image.fromarray(pixels)


def numbered_folders(root: Path, n: int) -> Path:
    """Write `n` images as folders of one generator; the even numbers are fakes."""
    for number in range(n):
        place = root / "alpha" / ("1_fake" if number % 2 == 0 else "0_real")
        place.mkdir(parents=True, exist_ok=True)
        numbered_image(number).save(place / f"{number:04d}.png")
    return root


def number_of(request: Mapping[str, Any]) -> int:
    url = request["messages"][-1]["content"][0]["image_url"]["url"]
    pixel = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB").getpixel((0, 0))
    return pixel[0] * 256 + pixel[1]


def completion(text: str, **choice: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "model": "served-model-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def usual(number: int) -> dict[str, Any]:
    label = "fake" if number % 2 == 0 else "real"
    share = 0.9 if label == "fake" else 0.2
    top = [{"token": word, "logprob": math.log(p)} for word, p in ((" fake", share), (" real", 1 - share))]
    tokens = [
        {"token": f"Number {number}. This image is", "logprob": -0.1, "top_logprobs": []},
        {"token": f" {label}", "logprob": math.log(max(share, 1 - share)), "top_logprobs": top},
        {"token": ".", "logprob": -0.1, "top_logprobs": []},
    ]
    return completion(f"Number {number}. This image is {label}.", logprobs={"content": tokens})


class Misbehaving:
    """The server. `way(number, attempt)` says how an image's request goes; None is well."""

    def __init__(
        self,
        way: Callable[[int, int], str | None] = lambda number, attempt: None,
        *,
        delay: float = 0.0,
        answer: Callable[[int], dict[str, Any]] = usual,
    ) -> None:
        self.way, self.delay, self.answer = way, delay, answer
        self.attempts: collections.Counter[int] = collections.Counter()
        self.answered: collections.Counter[int] = collections.Counter()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self.respond: Callable[[Mapping[str, Any]], tuple[int, dict[str, str], Any]] | None = None
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.gate: threading.Barrier | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        server = _Server(("127.0.0.1", 0), _Handler)
        server.owner = self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            self.released.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """Say nothing: clients that hang up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    @property
    def owner(self) -> Misbehaving:
        return self.server.owner

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.owner.lock:
            self.owner.requests.append(request)
            self.owner.headers.append({**self.headers, "path": self.path})
            self.owner.times.append(time.monotonic())
        self._serve(request)

    def _serve(self, request: Mapping[str, Any]) -> None:
        if self.owner.respond is not None:
            status, headers, body = self.owner.respond(request)
            self._send(status, body, headers)
            return
        number = number_of(request)
        with self.owner.lock:
            self.owner.attempts[number] += 1
            way = self.owner.way(number, self.owner.attempts[number])
            self.owner.under_way += 1
            self.owner.most_under_way = max(self.owner.most_under_way, self.owner.under_way)
        time.sleep(SLOW if way == "slow" else self.owner.delay)
        if way == "hold":
            self.owner.released.wait(60)
        if self.owner.gate is not None:
            self.owner.gate.wait(60)
        with self.owner.lock:  # before it is sent: then the client may ask for the next
            self.owner.under_way -= 1
        match way:
            case "429":
                self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"})
            case "500":
                self._send(500, "<html>oops</html>")
            case "cut":
                self._cut()
            case "malformed":
                self._send(200, '{"choices": [{"mess')
            case "refusal":
                self._send(200, completion("I'm sorry, but I can't help with that."))
            case _:
                self._send(200, self.owner.answer(number))
                if way is None:
                    with self.owner.lock:
                        self.owner.answered[number] += 1

    def _cut(self) -> None:
        """Promise more than is sent, then hang up."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices"')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
