"""Requests to addresses that a configuration or a user names."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from homeserver.config.sections.outgoing_http import OutgoingHttpSection
from homeserver.config.values import PRIVATE_RANGES, IpRange
from homeserver.errors import RemoteError
from homeserver.web.outgoing_http import AddressRules, OutgoingHttp

LOOPBACK = (IpRange("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "fd00::1",
        "not an address",
        "",
    ],
)
def test_private_addresses_are_not_contacted(address: str) -> None:
    assert not AddressRules((), PRIVATE_RANGES).allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888"])
def test_public_addresses_are_contacted(address: str) -> None:
    assert AddressRules((), PRIVATE_RANGES).allows(address)


def test_what_is_allowed_wins_over_what_is_blocked() -> None:
    assert AddressRules(LOOPBACK, PRIVATE_RANGES).allows("127.0.0.1")


async def answer(request: web.Request) -> web.StreamResponse:
    fields = await request.post()
    if fields["kind"] == "moved":
        raise web.HTTPFound("/elsewhere")
    body = {"json": b'{"ok": true}', "large": b"[" + b" " * 70_000 + b"]", "text": b"no"}
    response = web.StreamResponse()
    await response.prepare(request)
    for byte in (body[str(fields["kind"])][:5], body[str(fields["kind"])][5:]):
        await response.write(byte)
    return response


async def test_a_form_gets_the_decoded_answer_though_it_comes_in_pieces() -> None:
    app = web.Application()
    app.router.add_post("/verify", answer)
    http = OutgoingHttp(OutgoingHttpSection(allowed_ip_ranges=LOOPBACK))
    async with TestServer(app) as server:
        url = str(server.make_url("/verify"))
        assert await http.post_form(url, {"kind": "json"}) == {"ok": True}
        for kind in ("moved", "large", "text"):
            with pytest.raises(RemoteError):
                await http.post_form(url, {"kind": kind})
    with pytest.raises(RemoteError):
        await http.post_form(url, {"kind": "json"})
    await http.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_blocked_address_is_refused_by_number_and_by_name(host: str) -> None:
    app = web.Application()
    app.router.add_post("/verify", answer)
    http = OutgoingHttp(OutgoingHttpSection())
    async with TestServer(app) as server:
        with pytest.raises(RemoteError):
            await http.post_form(f"http://{host}:{server.port}/verify", {"kind": "json"})
    await http.close()


async def tell(request: web.Request) -> web.Response:
    if request.query.get("large"):
        return web.Response(body=b" " * 70_000)
    if request.query.get("text"):
        return web.Response(text="no JSON", status=501)
    body = await request.text()
    told = {"method": request.method, "query": request.rel_url.raw_query_string, "body": body}
    return web.json_response(told, status=400)


async def test_an_answer_of_any_status_is_returned_with_its_json() -> None:
    app = web.Application()
    app.router.add_route("*", "/ask", tell)
    http = OutgoingHttp(OutgoingHttpSection(allowed_ip_ranges=LOOPBACK))
    async with TestServer(app) as server:
        url = str(server.make_url("/ask"))
        answer = await http.request_json("POST", f"{url}?a=%2F", body=b"{}")
        assert answer.status == 400
        assert answer.content == {"method": "POST", "query": "a=%2F", "body": "{}"}
        text = await http.request_json("GET", f"{url}?text=1")
        assert (text.status, text.content) == (501, None)
        with pytest.raises(RemoteError):
            await http.request_json("GET", f"{url}?large=1")
    with pytest.raises(RemoteError):
        await http.request_json("GET", url)
    with pytest.raises(RemoteError):
        await http.request_json("GET", "https://[::1")
    await http.close()
    blocked = OutgoingHttp(OutgoingHttpSection())
    with pytest.raises(RemoteError):
        await blocked.request_json("GET", "http://127.0.0.1:1/")
    await blocked.close()
