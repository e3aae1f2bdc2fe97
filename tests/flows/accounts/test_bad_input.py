"""Malformed requests to every endpoint of accounts: a 4xx with its code, never a 500."""

from typing import Any

import pytest

from tests.support.account_node import AccountNode

TOKEN = "/_matrix/client/v1/login/get_token"
SHARED = "/_synapse/admin/v1/register"
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"

# Method, path, whether a token is sent.
WITH_BODY = [
    ("POST", "register", False),
    ("POST", "login", False),
    ("POST", "refresh", False),
    ("POST", SHARED, False),
    ("POST", TOKEN, True),
    ("POST", "account/password", True),
    ("POST", "account/deactivate", True),
    ("PUT", "devices/PHONE", True),
    ("DELETE", "devices/PHONE", True),
    ("POST", "delete_devices", True),
]


@pytest.fixture
async def token(node: AccountNode) -> str:
    return str((await node.register("alice", device_id="PHONE"))["access_token"])


@pytest.mark.parametrize(("method", "path", "is_authenticated"), WITH_BODY)
async def test_a_body_must_be_a_json_object(
    node: AccountNode, token: str, method: str, path: str, is_authenticated: bool
) -> None:
    sent = token if is_authenticated else None
    for raw, errcode in [
        (b"{", "M_NOT_JSON"),
        (b"username=alice", "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b'"text"', "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
    ]:
        answer = await node.call(method, path, token=sent, data=raw)
        assert answer.errcode == (400, errcode), raw


WRONG: list[tuple[str, str, bool, dict[str, Any], str]] = [
    ("POST", "register", False, {"username": 1}, "M_BAD_JSON"),
    ("POST", "register", False, {"password": ["x"]}, "M_BAD_JSON"),
    ("POST", "register", False, {"device_id": {}}, "M_BAD_JSON"),
    ("POST", "register", False, {"inhibit_login": "yes"}, "M_BAD_JSON"),
    ("POST", "register", False, {"refresh_token": 1}, "M_BAD_JSON"),
    ("POST", "register", False, {"initial_device_display_name": 1}, "M_BAD_JSON"),
    ("POST", "register", False, {"guest_access_token": 1}, "M_BAD_JSON"),
    ("POST", "register", False, {"username": "a\0b"}, "M_INVALID_PARAM"),
    ("POST", "register", False, {"password": "a\0b"}, "M_INVALID_PARAM"),
    ("POST", "register?kind=king", False, {}, "M_INVALID_PARAM"),
    ("POST", "login", False, {}, "M_MISSING_PARAM"),
    ("POST", "login", False, {"type": 1}, "M_BAD_JSON"),
    ("POST", "login", False, {"type": "m.login.moon"}, "M_UNKNOWN"),
    ("POST", "login", False, {"type": "m.login.password"}, "M_MISSING_PARAM"),
    ("POST", "login", False, {"type": "m.login.password", "user": "a"}, "M_MISSING_PARAM"),
    ("POST", "login", False, {"type": "m.login.password", "user": 1}, "M_BAD_JSON"),
    ("POST", "login", False, {"type": "m.login.password", "identifier": "a"}, "M_BAD_JSON"),
    (
        "POST",
        "login",
        False,
        {"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.moon"}},
        "M_INVALID_PARAM",
    ),
    (
        "POST",
        "login",
        False,
        {"type": "m.login.password", "password": "x", "identifier": {"type": "m.id.user"}},
        "M_MISSING_PARAM",
    ),
    ("POST", "login", False, {"type": "m.login.token"}, "M_MISSING_PARAM"),
    ("POST", "login", False, {"type": "m.login.token", "token": 1}, "M_BAD_JSON"),
    (
        "POST",
        "login",
        False,
        {"type": "m.login.token", "token": "x", "device_id": "x" * 256},
        "M_INVALID_PARAM",
    ),
    ("POST", "refresh", False, {}, "M_MISSING_PARAM"),
    ("POST", "refresh", False, {"refresh_token": None}, "M_BAD_JSON"),
    ("POST", "refresh", False, {"refresh_token": True}, "M_BAD_JSON"),
    ("POST", TOKEN, True, {"auth": "x"}, "M_BAD_JSON"),
    ("POST", "account/password", True, {"new_password": 1}, "M_BAD_JSON"),
    ("POST", "account/password", True, {"new_password": "x", "logout_devices": 1}, "M_BAD_JSON"),
    ("POST", "account/password", True, {"new_password": ""}, "M_WEAK_PASSWORD"),
    ("POST", "account/deactivate", True, {"erase": "yes"}, "M_BAD_JSON"),
    ("POST", "account/deactivate", True, {"auth": []}, "M_BAD_JSON"),
    ("PUT", "devices/PHONE", True, {"display_name": 1}, "M_BAD_JSON"),
    ("PUT", "devices/PHONE", True, {"display_name": "a\0b"}, "M_INVALID_PARAM"),
    ("POST", "delete_devices", True, {"devices": "PHONE"}, "M_BAD_JSON"),
    ("POST", "delete_devices", True, {"devices": [1]}, "M_BAD_JSON"),
    ("POST", "delete_devices", True, {"devices": [""]}, "M_INVALID_PARAM"),
    ("POST", "delete_devices", True, {"devices": ["x" * 256]}, "M_INVALID_PARAM"),
    ("POST", SHARED, False, {"username": "a"}, "M_MISSING_PARAM"),
]


@pytest.mark.parametrize(("method", "path", "is_authenticated", "body", "errcode"), WRONG)
async def test_wrong_members_are_refused_by_their_code(
    node: AccountNode,
    token: str,
    method: str,
    path: str,
    is_authenticated: bool,
    body: dict[str, Any],
    errcode: str,
) -> None:
    sent = token if is_authenticated else None
    assert (await node.call(method, path, body, sent)).errcode == (400, errcode)


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("register/available", (400, "M_MISSING_PARAM")),
        ("register/available?username=%ff", (400, "M_INVALID_PARAM")),
        ("register/available?username=a%00b", (400, "M_INVALID_PARAM")),
        (VALIDITY, (400, "M_MISSING_PARAM")),
        (f"{VALIDITY}?token=a%00b", (400, "M_INVALID_PARAM")),
        ("devices/" + "x" * 256, (400, "M_INVALID_PARAM")),
        ("devices/a%00b", (400, "M_INVALID_PARAM")),
        ("devices/NOTHING", (404, "M_NOT_FOUND")),
        ("auth/m.login.terms/fallback/web", (400, "M_MISSING_PARAM")),
    ],
)
async def test_wrong_paths_and_queries_are_refused_by_their_code(
    node: AccountNode, token: str, path: str, refusal: tuple[int, str]
) -> None:
    assert (await node.call("GET", path, token=token)).errcode == refusal


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "logout"),
        ("GET", "refresh"),
        ("DELETE", "login"),
        ("PUT", "register"),
        ("POST", "account/whoami"),
        ("POST", "/_matrix/client/versions"),
    ],
)
async def test_a_wrong_method_is_unrecognized(
    node: AccountNode, token: str, method: str, path: str
) -> None:
    assert (await node.call(method, path, token=token)).errcode == (405, "M_UNRECOGNIZED")


@pytest.mark.parametrize("token", ["x", "hsa_" + "A" * 43, "a b", "\xfc", "x" * 5000])
async def test_any_text_may_be_shown_as_a_token(node: AccountNode, token: str) -> None:
    assert (await node.whoami(token)).errcode == (401, "M_UNKNOWN_TOKEN")
    answer = await node.call("POST", "refresh", {"refresh_token": token})
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")


async def test_old_paths_answer_too(node: AccountNode, token: str) -> None:
    old = "/_matrix/client/r0"
    assert (await node.call("GET", f"{old}/account/whoami", token=token)).status == 200
    assert (await node.call("GET", f"{old}/login")).status == 200
    assert (await node.call("POST", f"{old}/register", {})).status == 401
