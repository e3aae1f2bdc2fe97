from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.errors import RemoteError
from homeserver.services.form_post import FormPost

ANSWERS = {
    "/ok": web.Response,
    "/error": lambda: web.Response(status=500, text="{}"),
    "/redirect": lambda: web.Response(status=302, headers={"Location": "/ok"}),
    "/html": lambda: web.Response(text="<html>"),
    "/latin": lambda: web.Response(body=b'"\xff"'),
    "/deep": lambda: web.Response(text="[" * 20_000),
    "/large": lambda: web.Response(text='"' + "x" * 100_000 + '"'),
}


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/ok":
            return web.json_response(dict(await request.post()))
        return ANSWERS[request.path]()

    app = web.Application()
    app.router.add_post("/{any}", answer)
    async with TestServer(app) as running:
        yield running


@pytest.fixture
async def poster() -> AsyncIterator[FormPost]:
    async with aiohttp.ClientSession() as client:
        yield FormPost(client)


async def test_a_form_is_sent_and_the_answer_decoded(server: TestServer, poster: FormPost) -> None:
    answer = await poster.post_form(str(server.make_url("/ok")), {"a": "1 & 2", "b": "é"})
    assert answer == {"a": "1 & 2", "b": "é"}


@pytest.mark.parametrize("path", [path for path in ANSWERS if path != "/ok"])
async def test_anything_but_json_of_reasonable_size_is_the_fault_of_the_other(
    server: TestServer, poster: FormPost, path: str
) -> None:
    with pytest.raises(RemoteError):
        await poster.post_form(str(server.make_url(path)), {})


async def test_nobody_there_is_an_error_of_the_other(server: TestServer, poster: FormPost) -> None:
    url = str(server.make_url("/ok"))
    await server.close()
    with pytest.raises(RemoteError):
        await poster.post_form(url, {})
