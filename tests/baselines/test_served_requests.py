"""What goes to a server and what comes of its answer: fields, images, waits, and the errors that stop a run."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from baselines.served import Served
from fdr_bench.errors import RunStopped, UsageError
from fdr_bench.families import Failure
from tests.served_server import Misbehaving, completion, number_of, numbered_image, usual

IMAGE = numbered_image(4)


def detector(url: str, *, preset: str = "reasoned", view: str | None = None, **options: str):
    said = {"base-url": url, "backoff": "0", **{name.replace("_", "-"): value for name, value in options.items()}}
    return Served("m", said)(preset=preset, device="cpu", weights={}, view=view)


def answer_of(respond, **options: str):
    """Ask about one image a server that responds in one way; return the prediction and the server."""
    server = Misbehaving()
    server.respond = respond
    with server.running() as url:
        return detector(url, **options).predict([IMAGE])[0], server


def request_of(image: Image.Image = IMAGE, **options: str) -> dict:
    server = Misbehaving()
    server.respond = lambda request: (200, {}, completion("Fake"))
    with server.running() as url:
        detector(url, **options).predict([image])
    assert server.headers[0]["path"] == "/v1/chat/completions"
    return server.requests[0]


# ---------------------------------------------------------------- requests


def test_a_request_has_the_prompt_the_image_and_the_settings():
    request = request_of(preset="verdict")
    assert {key: request[key] for key in request.keys() - {"messages"}} == {
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 16,
        "logprobs": True,
        "top_logprobs": 20,
    }
    (message,) = request["messages"]
    picture, text = message["content"]
    assert (message["role"], text["type"]) == ("user", "text")
    assert text["text"].endswith("Answer with one word: real or fake.")
    sent = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))))
    assert np.array_equal(np.asarray(sent), np.asarray(IMAGE))  # PNG: the pixels as they are


def test_options_change_the_request():
    request = request_of(
        preset="reasoned",
        temperature="0.2",
        logprobs="0",
        structured="yes",
        detail="low",
        max_tokens="77",
        extra='{"reasoning_effort": "low", "seed": null}',
    )
    assert (request["temperature"], request["max_tokens"], request["reasoning_effort"]) == (0.2, 77, "low")
    assert not {"logprobs", "top_logprobs", "seed"} & request.keys()
    assert request["messages"][0]["content"][0]["image_url"]["detail"] == "low"
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["reasoning", "verdict"]
    assert schema["properties"]["verdict"]["enum"] == ["real", "fake"]


def test_the_newer_name_of_the_length_replaces_the_older():
    request = request_of(extra='{"max_completion_tokens": 50, "temperature": null}')
    assert request["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature"} & request.keys()


@pytest.mark.parametrize(
    ("size", "side", "sent"),
    [((300, 100), "150", (150, 50)), ((300, 100), "0", (300, 100)), ((30, 90), "150", (30, 90))],
)
def test_images_are_sent_at_the_stated_size_and_never_enlarged(size, side, sent):
    request = request_of(Image.new("RGB", size, (9, 9, 9)), image_side=side, image_format="jpeg")
    url = request["messages"][0]["content"][0]["image_url"]["url"]
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))))
    assert (image.format, image.size) == ("JPEG", sent)


def test_an_image_that_comes_twice_is_asked_about_once():
    server = Misbehaving(delay=0.05)
    with server.running() as url:
        answers = detector(url).predict([IMAGE, numbered_image(5), IMAGE])
    assert [answer.verdict for answer in answers] == ["fake", "real", "fake"]
    assert set(server.attempts.values()) == {1}


# ---------------------------------------------------------------- answers


def test_a_structured_answer_is_read():
    said = json.dumps({"reasoning": "The fur.", "verdict": "fake"})
    prediction, _ = answer_of(lambda request: (200, {}, completion(said)), structured="yes")
    assert (prediction.verdict, prediction.reasoning, prediction.problem) == ("fake", "The fur.", None)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "refused"),
        ({"message": {"content": None, "refusal": "I can't."}}, "refused"),
        ({"message": {"content": [{"type": "text", "text": "Hm."}]}}, "off-format"),
    ],
)
def test_how_an_answer_ended_is_told(choice, problem):
    prediction, _ = answer_of(lambda request: (200, {}, completion("The fur is", **choice)))
    assert (prediction.verdict, prediction.problem) == (None, problem)


def test_an_image_that_a_filter_refuses_is_refused_and_not_asked_again():
    body = {"error": {"message": "no such images", "code": "content_policy_violation"}}
    prediction, server = answer_of(lambda request: (400, {}, body))
    assert (prediction.problem, prediction.verdict) == ("refused", None)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([1], "not a JSON object"),
        ({"choices": []}, "no choices"),
        ({"choices": [{"message": {"content": 7}}]}, "content is not a text"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_an_answer_in_another_shape_is_malformed_and_tried_again(body, reason):
    failure, server = answer_of(lambda request: (200, {}, body), tries="2")
    assert isinstance(failure, Failure)
    assert (failure.kind, len(server.requests)) == ("malformed answer", 2)
    assert reason in failure.reason


def test_an_image_that_the_server_rejects_fails_alone():
    def respond(request):
        return (413, {}, {"error": "too large"}) if number_of(request) == 4 else (200, {}, usual(5))

    server = Misbehaving()
    server.respond = respond
    with server.running() as url:
        first, second = detector(url, concurrency="1").predict([IMAGE, numbered_image(5)])
    assert (first.kind, first.reason, second.verdict) == ("rejected", "status 413: too large", "real")
    assert len(server.requests) == 2


# ---------------------------------------------------------------- waits


def test_a_server_that_asks_to_wait_is_left_alone_so_long():
    def respond(request):
        respond.asked += 1
        return (429, {"Retry-After": "0.4"}, {}) if respond.asked == 1 else (200, {}, usual(4))

    respond.asked = 0
    server = Misbehaving()
    server.respond = respond
    with server.running() as url:
        answers = detector(url, concurrency="1").predict([IMAGE, *map(numbered_image, range(20, 24))])
    assert all(answer.verdict for answer in answers)
    assert server.times[1] - server.times[0] >= 0.4  # no image is asked about meanwhile
    assert len(server.requests) == 6


def test_an_answer_that_never_ends_is_given_up():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        asked = detector(f"http://127.0.0.1:{server.server_address[1]}/v1", timeout="0.3", tries="1")
        (failure,) = asked.predict([IMAGE])
        server.shutdown()
    assert (failure.kind, failure.reason) == ("timeout", "the answer did not end within 0.3 s")


# ---------------------------------------------------------------- what stops a run


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {}, "it wants a key: set FDR_BENCH_API_KEY"),
        (404, {"error": {"message": "no model m"}}, "no model m; check the model's name"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "quota is used up"),
        (400, {"error": {"message": "'logprobs' is not supported"}}, "--option logprobs=0"),
        (400, {"error": {"message": "Unsupported parameter: 'max_tokens'"}}, "max_completion_tokens"),
        (307, {}, "give the address it leads to"),
    ],
)
def test_what_no_other_image_would_fare_better_with_stops_the_run(status, body, reason):
    server = Misbehaving()
    server.respond = lambda request: (status, {"Location": "http://127.0.0.1:9/elsewhere"}, body)
    with server.running() as url, pytest.raises(RunStopped) as caught:
        detector(url, concurrency="2").predict([numbered_image(number) for number in range(30)])
    assert reason in str(caught.value)
    assert len(server.requests) <= 2


def test_a_server_that_is_not_there_stops_the_run_with_its_address():
    with Misbehaving().running() as url:
        pass
    with pytest.raises(RunStopped, match=r"8 images in a row .* unreachable \(127\.0\.0\.1:\d+: Connection"):
        detector(url, tries="2", concurrency="4").predict([numbered_image(number) for number in range(30)])


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"base-url": "localhost:8000"}, "should be like http://localhost:8000/v1"),
        ({"base-url": "http://me:secret@host/v1"}, "A key belongs in the environment"),
        ({"base-url": "http://host/v1?key=secret"}, "A key belongs in the environment"),
        ({"api-key-env": "sk-0123-secret"}, "never the key itself"),
        ({"api-key-env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
        ({"budget": "5"}, "5USD, 2000000tokens or 1000requests"),
        ({"budget": "5USD"}, "needs prices"),
        ({"price": "3"}, "two numbers"),
        ({"concurrency": "0"}, "a whole number from 1 to 1024"),
        ({"concurrency": "1.5"}, "a whole number from 1 to 1024"),
        ({"timeout": "nan"}, "a number from 0.01"),
        ({"image-format": "webp"}, "png or jpeg"),
        ({"extra": "[1]"}, "a JSON object"),
        ({"extra": '{"model": "other"}'}, "cannot set model"),
        ({"prompt": "nothing"}, "no prompt is called 'nothing'"),
        ({"repeats": "0"}, "above 0"),
    ],
)
def test_an_option_that_is_wrong_is_a_usage_error_without_secrets(options, reason):
    with pytest.raises(UsageError) as caught:
        Served("m", options)
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


def test_openais_key_goes_to_openai_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "one-for-openai")
    monkeypatch.delenv("FDR_BENCH_API_KEY", raising=False)
    assert Served("m", {}).said.key == "one-for-openai"
    assert Served("m", {"base-url": "http://host/v1"}).said.key is None
    assert "one-for-openai" not in repr(Served("m", {}).said)
    assert Served("m", {"base-url": "http://host/v1", "api-key-env": "OPENAI_API_KEY"}).said.key == "one-for-openai"
