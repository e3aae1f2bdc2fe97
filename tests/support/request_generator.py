"""Requests that no client should send, made from what the server says of its own endpoints."""

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

# What breaks parsers, drivers and assumptions.
STRINGS = (
    "",
    " ",
    "a",
    "\x00",
    "a\x00b",
    "\ud800",
    "🏳️‍🌈",
    "é" * 300,
    "x" * 70_000,
    "..",
    "../../etc/passwd",
    "%00",
    "%2F",
    "null",
    "-1",
    "0",
    "9223372036854775808",
    "1e400",
    "NaN",
    "@:",
    "@a:b:c",
    "@alice:hs.example",
    "@nobody:hs.example",
    "@x:elsewhere.example",
    "!nothing:hs.example",
    "!x",
    "#none:hs.example",
    "#none:elsewhere.example",
    "$none",
    "$none:hs.example",
    "s0",
    "s-1",
    "s99999999999999999999",
    "t1_-1",
    "mxc://hs.example/none",
    "m.room.message",
    "m.room.member",
    "m.room.create",
    "join",
    "hs.example:99999",
    "[::1",
)
NUMBERS = (
    0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308,
)  # fmt: skip
# Long waits would only slow the test down.
WAITS = ("", "-1", "0", "1", "x", "1e3", "\x00")
_DEEP = 40
# A longer request line never gets as far as an operation.
_LONGEST = 30_000
# Pages for browsers, and answers that are not Matrix's.
_PAGES = ("text/html", "text/plain", "application/openmetrics-text", "multipart/mixed")


class Request(NamedTuple):
    """A request to be sent as it is; `path` has its query and is percent-encoded."""

    operation: str
    method: str
    path: str
    body: bytes | None
    content_type: str | None


async def fault_of(
    session: aiohttp.ClientSession, url: str, request: Request, authorization: str
) -> str:
    """Send a request and return what is wrong with its answer, "" if nothing."""
    headers = {"Authorization": authorization}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    try:
        async with session.request(
            request.method,
            URL(url + request.path, encoded=True),
            data=request.body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=30),
        ) as response:
            return _fault(response.status, response.content_type, await response.read())
    except aiohttp.ServerDisconnectedError:
        return ""  # Refused while the body was still on its way.
    except TimeoutError:
        return "no answer"


def _fault(status: int, content_type: str, body: bytes) -> str:
    if status >= 500:
        return f"{status}: {body[:300]!r}"
    if status < 400 or content_type in _PAGES:
        return ""
    try:
        answer = json.loads(body)
    except ValueError:
        return f"{status} without JSON: {body[:300]!r}"
    # UIA asks for more with 401 and without an error code.
    if status == 401 and "flows" in answer:
        return ""
    return "" if isinstance(answer.get("errcode"), str) else f"{status} without errcode: {answer}"


class RequestGenerator:
    """Makes requests; the same seed makes the same ones."""

    def __init__(self, document: Any, seed: int, known: Mapping[str, tuple[str, ...]]) -> None:
        """`known` names values that exist, by the name of the parameter or member."""
        self._document = document
        self._random = Random(seed)
        self._known = known

    def operations(self) -> list[tuple[str, str, Any]]:
        """Return (path, method, operation), in a fixed order."""
        return [
            (path, method.upper(), operation)
            for path, methods in sorted(self._document["paths"].items())
            for method, operation in sorted(methods.items())
        ]

    def requests(self, path: str, method: str, operation: Any, count: int) -> Iterator[Request]:
        """Make requests to one operation."""
        for _ in range(count):
            yield self._request(path, method, operation)

    def _request(self, path: str, method: str, operation: Any) -> Request:
        query: list[str] = []
        for parameter in operation["parameters"]:
            name = parameter["name"]
            if parameter["in"] == "path":
                value = quote(self._text(name), safe="", errors="surrogatepass")
                path = path.replace("{" + name + "}", value)
            elif self._random.random() < 0.6 or name == "timeout":
                for _ in range(1 if self._random.random() < 0.9 else 2):
                    value = self._random.choice(WAITS) if "timeout" in name else self._text(name)
                    query.append(f"{name}={quote(value, safe='', errors='surrogatepass')}")
        body, content_type = self._body(operation)
        asked = path + ("?" + "&".join(query) if query else "")
        return Request(operation["operationId"], method, asked[:_LONGEST], body, content_type)

    def _body(self, operation: Any) -> tuple[bytes | None, str | None]:
        if "requestBody" not in operation:
            return None, None
        schema = operation["requestBody"]["content"].get("application/json", {}).get("schema")
        kind = self._random.random()
        if kind < 0.02:
            return b"", "application/json"
        if kind < 0.05:
            return self._random.choice(
                (b"{", b"\xff\xfe", b"[]", b"null", b'"x"', b"1", b'{"a":1}x', b'{"a":NaN}')
            ), "application/json"
        if kind < 0.07:
            depth = 20_000
            return b'{"a":' * depth + b"1" + b"}" * depth, "application/json"
        value = self._value(schema, 0) if schema is not None else self._anything(0)
        if not isinstance(value, dict) and kind < 0.9:
            value = {"x": value}
        text = json.dumps(value)
        return text.encode(), self._random.choice(("application/json", "text/plain", "x"))

    def _text(self, name: str) -> str:
        known = self._known.get(name, ())
        if known and self._random.random() < 0.6:
            return self._random.choice(known)
        if self._random.random() < 0.2:
            return str(self._random.choice(NUMBERS))
        value = self._random.choice(STRINGS)
        return value if len(value) < 5_000 or self._random.random() < 0.2 else "x"

    def _value(self, schema: Any, depth: int, name: str = "") -> Any:
        """Make a value that a schema allows, or now and then another one."""
        if depth > _DEEP or self._random.random() < 0.12:
            return self._anything(depth)
        if "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._value(self._random.choice(choices), depth + 1, name)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                items = schema.get("items") or {}
                count = self._random.choice((0, 1, 2, 5))
                return [self._value(items, depth + 1, name) for _ in range(count)]
            case "string":
                return self._text(name)
            case "integer" | "number":
                return self._random.choice(NUMBERS)
            case "boolean":
                return self._random.random() < 0.5
        return self._anything(depth)

    def _object(self, schema: Any, depth: int) -> Any:
        made: dict[str, Any] = {}
        for name, each in schema.get("properties", {}).items():
            if self._random.random() < 0.75:
                made[name] = self._value(each, depth + 1, name)
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) or "properties" not in schema:
            for _ in range(self._random.choice((0, 1, 2))):
                key = self._text(self._random.choice(("user_id", "device_id", "room_id", "")))
                made[key] = self._value(extra if isinstance(extra, dict) else {}, depth + 1)
        return made

    def _anything(self, depth: int) -> Any:
        kind = self._random.randrange(7 if depth < 6 else 5)
        match kind:
            case 0:
                return None
            case 1:
                return self._random.random() < 0.5
            case 2:
                return self._random.choice(NUMBERS)
            case 3 | 4:
                return self._text(self._random.choice(("user_id", "event_id", "room_id", "")))
            case 5:
                return [self._anything(depth + 1) for _ in range(self._random.choice((0, 1, 3)))]
        return {
            self._random.choice((*STRINGS[:12], *_MEMBERS)): self._anything(depth + 1)
            for _ in range(self._random.choice((0, 1, 4)))
        }


_MEMBERS = (
    "auth", "type", "identifier", "user", "content", "membership", "users", "events", "kind",
    "actions", "conditions", "m.relates_to", "rel_type", "event_id", "signatures", "keys", "room",
    "filter", "timeline", "limit", "rooms", "senders", "device_keys", "url", "data", "preset",
    "initial_state", "power_level_content_override", "messages", "sessions", "ts", "thread_id",
)  # fmt: skip
