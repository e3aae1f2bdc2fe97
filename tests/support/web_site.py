"""A web site on loopback whose pages the test writes."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

Page: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebSite:
    """Serves `pages` by path; `asked` has the requests in the order in which they came."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Page] = {}
        self.types: dict[str, str] = {}
        self.asked: list[web.Request] = []
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def puts(self, path: str, body: bytes | str, content_type: str = "text/html") -> str:
        """Serve a body and return its URL."""
        self.pages[path] = body.encode() if isinstance(body, str) else body
        self.types[path] = content_type
        return self.url(path)

    def redirects(self, path: str, location: str) -> str:
        """Redirect from a path and return its URL."""

        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": location})

        self.pages[path] = answer
        return self.url(path)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        if isinstance(page, bytes):
            headers = {"Content-Type": self.types[request.path]}
            return web.Response(body=page, headers=headers)
        return await page(request)


@contextlib.asynccontextmanager
async def web_site() -> AsyncIterator[WebSite]:
    site = WebSite()
    server = web.Server(site.answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()
