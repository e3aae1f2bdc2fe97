"""An HTTP/1.1 client that costs next to nothing: one keep-alive connection, minimal parsing."""

import asyncio
import json
import time
from typing import Any, cast
from urllib.parse import quote

CLIENT = "/_matrix/client/v3"
_END_OF_HEAD = b"\r\n\r\n"
_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length:"


class Refused(Exception):
    """The server has answered something else than 200."""


class Connection(asyncio.Protocol):
    """One connection with one request in flight; answers must have a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._wanted = 0
        self._answer: asyncio.Future[bytes] | None = None
        # When the last byte of the answer came, by time.perf_counter().
        self.answered_at = 0.0

    @classmethod
    async def open(cls, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[bytes]":
        """Send a request and return the future body of its answer, or Refused."""
        assert self._transport is not None
        assert self._answer is None, "one request at a time"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted and not self._read_head():
            return
        if len(self._received) < self._wanted:
            return
        body = bytes(self._received[: self._wanted])
        head_end = body.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        is_ok = body.startswith(_OK)
        self._received.clear()
        self._wanted = 0
        answer, self._answer = self._answer, None
        self.answered_at = time.perf_counter()
        assert answer is not None, "an answer that nobody asked for"
        if answer.cancelled():
            return
        if is_ok:
            answer.set_result(body[head_end:])
        else:
            answer.set_exception(Refused(body[:2000].decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _read_head(self) -> bool:
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return False
        head = bytes(self._received[:end]).lower()
        start = head.index(_LENGTH) + len(_LENGTH)
        self._wanted = end + len(_END_OF_HEAD) + int(head[start:].split(b"\r\n", 1)[0])
        return True


def request(method: str, path: str, token: str = "", body: Any = None) -> bytes:
    """Return a request as bytes; a path without a leading slash is below the client API."""
    content = b"" if body is None else json.dumps(body).encode()
    target = path if path.startswith("/") else f"{CLIENT}/{path}"
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    return f"{head}\r\n".encode() + content


class User:
    """An account with a connection of its own."""

    def __init__(self, connection: Connection, user_id: str, token: str) -> None:
        self.connection = connection
        self.user_id = user_id
        self.token = token

    @classmethod
    async def register(cls, port: int, name: str) -> "User":
        connection = await Connection.open(port)
        auth = {"type": "m.login.dummy"}
        form = {"username": name, "password": "wordpass", "auth": auth}
        made = json.loads(await connection.send(request("POST", "register", body=form)))
        return cls(connection, made["user_id"], made["access_token"])

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the decoded answer."""
        return json.loads(await self.connection.send(request(method, path, self.token, body)))

    async def creates_room(self) -> str:
        made = await self.call("POST", "createRoom", {"preset": "public_chat"})
        room_id: str = made["room_id"]
        return room_id

    async def joins(self, room_id: str) -> None:
        await self.call("POST", f"join/{quote(room_id, safe='')}", {})

    def message(self, room_id: str, txn_id: str, text: str = "hello " * 20) -> bytes:
        """Return the request that sends a message."""
        return self.event(room_id, "m.room.message", txn_id, {"msgtype": "m.text", "body": text})

    def event(self, room_id: str, event_type: str, txn_id: str, content: Any) -> bytes:
        """Return the request that sends an event."""
        path = f"rooms/{quote(room_id, safe='')}/send/{event_type}/{txn_id}"
        return request("PUT", path, self.token, content)

    def sync(self, since: str, timeout_ms: int = 0) -> bytes:
        """Return the request for what is new."""
        return request("GET", f"sync?since={since}&timeout={timeout_ms}", self.token)

    async def next_batch(self) -> str:
        """Return a token of now."""
        token: str = (await self.call("GET", "sync"))["next_batch"]
        return token
