"""A client of raw HTTP/1.1 over asyncio streams: cheap enough not to be the bottleneck."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self


class RawClient:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._host = host
        self._port = port
        self.token = token

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request and return the body of its answer, which must be a 200."""
        self._writer.write(
            f"{method} /_matrix/client/v3/{path} HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        begin = head.lower().index(b"content-length:") + len(b"content-length:")
        length = int(head[begin : head.index(b"\r", begin)])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{method} {path}: {head.splitlines()[0]!r} {answer[:200]!r}")
        return answer

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the decoded answer."""
        return json.loads(await self.request(method, path, json.dumps(body or {}).encode()))

    async def register(self, name: str) -> None:
        """Register a user and go on as that user."""
        body = {"username": name, "password": name, "auth": {"type": "m.login.dummy"}}
        self.token = (await self.call("POST", "register", body))["access_token"]
