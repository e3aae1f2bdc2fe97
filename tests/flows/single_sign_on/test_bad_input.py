"""Malformed requests of browsers: a 4xx, never a 500."""

import itertools
from urllib.parse import quote

import pytest

from tests.support.account_node import AccountNode

CONTINUE = "/_matrix/client/unstable/org.homeserver/single_sign_on/continue"
CALLBACK = "/_matrix/client/unstable/org.homeserver/single_sign_on/callback"
PATHS = ["login/sso/redirect", "login/sso/redirect/oidc", "login/sso/redirect/unknown"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_address_is_needed(node: AccountNode, path: str) -> None:
    assert (await node.call("GET", path)).errcode == (400, "M_MISSING_PARAM")


BAD_URLS = [
    "",
    "/relative",
    "//app.example/",
    "app.example",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:https://app.example/x",
    "view-source:https://app.example/",
    "https://",
    "https:app.example",
    "http://user@app.example/",
    "http://user:password@app.example/",
    "https://app.example:99999/",
    "https://app.example:port/",
    "https://[::1/",
    "https://app.example/\r\nSet-Cookie: a=b",
    "https://app.example/\tx",
    " https://app.example/",
    "https://app.example\\@evil.example/",
    "https://app.example/\u202e",
    "1http://x/",
    ":",
    "https://app.example/" + "x" * 5000,
]


async def test_a_browser_is_sent_nowhere_but_to_an_application(node: AccountNode) -> None:
    for path, url in itertools.product(PATHS, BAD_URLS):
        answer = await node.call("GET", f"{path}?redirectUrl={quote(url, safe='')}")
        assert answer.errcode == (400, "M_INVALID_PARAM"), url


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ("redirectUrl=https://app.example/&action=dance", (400, "M_INVALID_PARAM")),
        ("redirectUrl=https://app.example/%00", (400, "M_INVALID_PARAM")),
        ("redirectUrl=%ff", (400, "M_INVALID_PARAM")),
        ("redirecturl=https://app.example/", (400, "M_MISSING_PARAM")),
    ],
)
async def test_wrong_parameters_are_refused_by_their_code(
    node: AccountNode, query: str, refusal: tuple[int, str]
) -> None:
    for path in PATHS:
        assert (await node.call("GET", f"{path}?{query}")).errcode == refusal


@pytest.mark.parametrize("provider", ["unknown", "%3Cscript%3E", "", "OIDC", "%F0%9F%98%80"])
async def test_a_provider_that_is_unknown_is_said_to_be_on_a_page(
    node: AccountNode, provider: str
) -> None:
    url = f"login/sso/redirect/{provider}?redirectUrl=https://app.example/"
    answer = await node.call("GET", url)
    assert (answer.status, "no such login provider" in answer.json) == (404, True)
    assert "<script" not in answer.json


FLOWS = ["", "x", "x" * 32, "x" * 5000, "<script>", "ä", "a;b=c"]
COOKIES = ["", "homeserver_sso_xxxxxxxxxxxx=y", "a=b;;=;c", "homeserver_sso_x=" + "y" * 4000]


async def test_a_form_without_its_flow_leads_nowhere(node: AccountNode) -> None:
    for flow, cookie in itertools.product(FLOWS, COOKIES):
        form = {"flow": flow, "username": "alice"}
        async with node.http.post(CONTINUE, data=form, headers={"Cookie": cookie}) as response:
            text = await response.text()
            assert (response.status, "<script" in text) == (403, False), (flow, cookie)


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"\xff=1", (400, "M_INVALID_PARAM")),
        (b"flow=%ff", (400, "M_INVALID_PARAM")),
        (b"a=1&" * 100, (400, "M_INVALID_PARAM")),
        (b"x" * 70_000, (413, "M_TOO_LARGE")),
    ],
)
async def test_what_is_no_form_is_refused(
    node: AccountNode, raw: bytes, refusal: tuple[int, str]
) -> None:
    assert (await node.call("POST", CONTINUE, data=raw)).errcode == refusal


@pytest.mark.parametrize(
    ("method", "path"), [("POST", CALLBACK), ("GET", CONTINUE), ("PUT", "login/sso/redirect")]
)
async def test_other_methods_are_refused(node: AccountNode, method: str, path: str) -> None:
    assert (await node.call(method, path)).errcode == (405, "M_UNRECOGNIZED")


@pytest.mark.parametrize("query", ["state=%00", "state=%ff", "code=%00"])
async def test_a_callback_that_is_no_text_is_refused(node: AccountNode, query: str) -> None:
    assert (await node.call("GET", f"{CALLBACK}?{query}")).errcode == (400, "M_INVALID_PARAM")
