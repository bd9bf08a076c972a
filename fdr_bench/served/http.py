"""One request to a server that speaks OpenAI's protocol: its JSON, or what went wrong and whether to try again."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import fdr_bench

LARGEST = 1 << 24
"""Bytes of an answer beyond which it is not read on."""
SHORTEST = 8
"""Letters of a key that is a secret; "EMPTY" and the like, which local servers are given, may stand in texts."""
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_HINTS = {
    "logprobs": "ask for fewer or none: --option logprobs=0",
    "response_format": "leave out --option structured=yes",
    "temperature": "leave it out: --option 'extra={\"temperature\":null}'",
    "seed": "leave it out: --option 'extra={\"seed\":null}'",
    "max_tokens": "give it its newer name: --option 'extra={\"max_completion_tokens\":4096}'",
    "max_completion_tokens": "choose another: --option 'extra={\"max_completion_tokens\":1024}'",
    "detail": "leave out --option detail",
}
_SETTING = re.compile(rf"\b(?:top_)?({'|'.join(_HINTS)})\b")
_FILTERED = ("content_filter", "content_policy", "moderation", "safety")


class Trouble(Exception):
    """A request that brought no answer.

    `kind` is a word or two; `again` says that trying once more may help; `after` are seconds that the server asks to
    wait; `fatal` says that no other request would fare better.
    """

    def __init__(
        self, kind: str, reason: str, *, again: bool = False, fatal: bool = False, after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.again, self.fatal, self.after = kind, reason, again, fatal, after


class Server:
    """Where requests go. The key is in the header of each and nowhere else: texts that come back are cleared of it."""

    def __init__(self, base_url: str, *, key: str | None, key_variable: str, timeout: float) -> None:
        self._url = f"{base_url}/chat/completions"
        self._name = urlsplit(base_url).netloc
        self._key, self._variable, self._timeout = key, key_variable, timeout
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if _is_local(urlsplit(base_url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        if base_url.startswith("https"):
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
        self._opener = urllib.request.build_opener(*handlers)

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and return the object that comes back. Raises `Trouble`."""
        headers = {"Content-Type": "application/json", "User-Agent": f"fdr-bench/{fdr_bench.__version__}"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        end = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = self._read(response, end)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error, end) from None
        except TimeoutError:
            raise Trouble("timeout", f"no answer within {self._timeout:g} s", again=True) from None
        except urllib.error.URLError as error:
            raise self._unreached(error.reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise Trouble("connection cut", _named(error), again=True) from None
        return self._object(content)

    def _read(self, response: Any, end: float) -> bytes:
        parts, size = [], 0
        while part := response.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                raise Trouble("malformed answer", f"it is longer than {LARGEST >> 20} MB", again=True)
            if time.monotonic() > end:
                raise Trouble("timeout", f"the answer did not end within {self._timeout:g} s", again=True)
        length = response.headers.get("Content-Length")
        if length is not None and length.isdecimal() and size < int(length):
            raise Trouble("connection cut", f"{size} of {length} bytes came", again=True)
        return b"".join(parts)

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(self._cleared(content.decode()))
        except (ValueError, RecursionError):
            raise Trouble("malformed answer", "it is not JSON", again=True) from None
        if not isinstance(found, dict):
            raise Trouble("malformed answer", "it is not a JSON object", again=True)
        return found

    def _refused(self, error: urllib.error.HTTPError, end: float) -> Trouble:
        status = error.code
        try:
            message, code = _message(self._cleared(self._read(error, end).decode(errors="replace")))
        except (OSError, http.client.HTTPException, Trouble):
            message, code = "", ""
        said = f"status {status}" + (f": {message}" if message else "")
        if any(word in code for word in _FILTERED):
            return Trouble("refused", said)
        if status in (401, 403):
            what = (
                f"the key in {self._variable} is not accepted" if self._key else f"it wants a key: set {self._variable}"
            )
            return Trouble("key", f"{self._name} says {said}; {what}", fatal=True)
        if status == 402 or "insufficient_quota" in code or "billing_hard_limit" in code:
            return Trouble("quota", f"{self._name} says {said}; the account's quota is used up", fatal=True)
        if status == 404:
            return Trouble("not found", f"{self._name} says {said}; check the model's name and --base-url", fatal=True)
        if 300 <= status < 400:
            return Trouble(
                "redirected", f"{self._name} says {said}; give the address it leads to as --base-url", fatal=True
            )
        if status in _TRANSIENT:
            kind = "rate limited" if status == 429 else "server error"
            return Trouble(kind, said, again=True, after=_retry_after(error.headers))
        if status in (400, 422) and (setting := _SETTING.search(message)) and "context" not in message:
            return Trouble("setting", f"{self._name} says {said}; {_HINTS[setting[1]]}", fatal=True)
        return Trouble("rejected" if status < 500 else "server error", said)

    def _unreached(self, reason: object) -> Trouble:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return Trouble("certificate", f"that of {self._name} is not trusted: {reason.verify_message}", fatal=True)
        if isinstance(reason, TimeoutError):
            return Trouble("timeout", f"no connection within {self._timeout:g} s", again=True)
        if isinstance(reason, ConnectionRefusedError | OSError) and not isinstance(
            reason, ConnectionResetError | BrokenPipeError
        ):
            return Trouble("unreachable", f"{self._name}: {_named(reason)}", again=True)
        named = _named(reason) if isinstance(reason, BaseException) else str(reason)
        return Trouble("connection cut", named, again=True)

    def _cleared(self, text: str) -> str:
        """Return a text without the key: servers repeat it in messages, some of them in part."""
        if self._key and len(self._key) >= SHORTEST:
            text = text.replace(self._key, "[key]")
        return re.sub(r"\bsk-[\w*-]{6,}", "[key]", text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _message(text: str) -> tuple[str, str]:
    """Return the message and the code in an error's body, each empty where there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())[:300], ""
    error = found.get("error", found) if isinstance(found, dict) else {}
    if not isinstance(error, dict):
        return str(error)[:300], ""
    message = error.get("message") or error.get("detail") or ""
    return " ".join(str(message).split())[:300], f"{error.get('code') or ''} {error.get('type') or ''}".strip().lower()


def _retry_after(headers: Any) -> float | None:
    """Return the seconds that a Retry-After header asks for, as a number or a date; None where there is none."""
    text = headers.get("Retry-After") if headers else None
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}" + (f": {error}" if str(error) else "")
