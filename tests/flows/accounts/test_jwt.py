"""Login with a JSON Web Token, `org.matrix.login.jwt`."""

import json
from typing import Any

import jwt
import pytest

from homeserver.config.sections.jwt import JwtSection
from homeserver.config.values import Secret
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.clock import FakeClock

SECRET = "a secret of sixty-four bytes, which is what HS512 wants at the least"
JWT = "org.matrix.login.jwt"


def section(**settings: Any) -> JwtSection:
    return JwtSection(**{"enabled": True, "secret": Secret(SECRET), **settings})


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "alice", **claims}, secret, algorithm=algorithm)


async def log_in(node: AccountNode, jwt_token: str, **more: Any) -> Answer:
    return await node.call("POST", "login", {"type": JWT, "token": jwt_token, **more})


async def test_a_token_logs_in_and_makes_the_account(node_with: NodeMaker) -> None:
    async with node_with(jwt=section()) as node:
        flows = (await node.call("GET", "login")).json["flows"]
        assert {"type": JWT} in flows
        for _ in range(2):
            answer = await log_in(node, token(), device_id="PHONE")
            assert answer.json["user_id"] == "@alice:localhost"
            assert answer.json["device_id"] == "PHONE"
        assert (await node.log_in("alice", "")).errcode == (403, "M_FORBIDDEN")


async def test_an_account_with_a_password_is_logged_in_too(node_with: NodeMaker) -> None:
    async with node_with(jwt=section()) as node:
        await node.register("alice")
        assert (await log_in(node, token(sub="Alice"))).json["user_id"] == "@alice:localhost"


@pytest.mark.parametrize(
    "bad_token",
    [
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="junk"),
        pytest.param(token(secret="x" * 64), id="another secret"),
        pytest.param(token(algorithm="HS512"), id="another algorithm"),
        pytest.param(jwt.encode({"sub": "alice"}, None, algorithm="none"), id="no signature"),
        pytest.param(token(sub=None), id="no subject"),
        pytest.param(token(sub=5), id="a subject that is no text"),
        pytest.param(token(sub="not a name"), id="a subject that cannot be a user"),
        pytest.param(token(exp=1_600_000_000), id="expired"),
        pytest.param(token(nbf=1_800_000_000), id="not valid yet"),
        pytest.param(token(iss="somebody"), id="another issuer"),
        pytest.param(token(iss="us", aud="them"), id="for somebody else"),
        pytest.param(token(iss="us"), id="for nobody"),
    ],
)
async def test_a_token_that_does_not_hold_is_refused(node_with: NodeMaker, bad_token: str) -> None:
    async with node_with(jwt=section(issuer="us", audiences=("here",))) as node:
        answer = await log_in(node, bad_token)
        assert answer.errcode == (403, "M_FORBIDDEN")
        good = token(iss="us", aud="here", exp=1_800_000_000, nbf=1_600_000_000)
        assert (await log_in(node, good)).status == 200


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"nbf": [1]}])
async def test_times_must_be_numbers(node_with: NodeMaker, claims: dict[str, Any]) -> None:
    async with node_with(jwt=section()) as node:
        unchecked = jwt.api_jws.encode(
            json.dumps({"sub": "alice", **claims}).encode(), SECRET, "HS256"
        )
        assert (await log_in(node, unchecked)).errcode == (403, "M_FORBIDDEN")


async def test_a_token_ends_by_the_servers_clock(node_with: NodeMaker, clock: FakeClock) -> None:
    async with node_with(jwt=section()) as node:
        ends_soon = token(exp=clock.now_ms() // 1000 + 10)
        assert (await log_in(node, ends_soon)).status == 200
        clock.tick(10)
        assert (await log_in(node, ends_soon)).errcode == (403, "M_FORBIDDEN")


async def test_another_claim_may_name_the_user(node_with: NodeMaker) -> None:
    async with node_with(jwt=section(subject_claim="login")) as node:
        assert (await log_in(node, token(login="bob"))).json["user_id"] == "@bob:localhost"


async def test_the_token_is_needed(node_with: NodeMaker) -> None:
    async with node_with(jwt=section()) as node:
        answer = await node.call("POST", "login", {"type": JWT})
        assert answer.errcode == (400, "M_MISSING_PARAM")


async def test_it_is_off_by_default(node: AccountNode) -> None:
    assert (await log_in(node, token())).errcode == (400, "M_UNKNOWN")


async def test_a_deactivated_user_is_told_so(node_with: NodeMaker) -> None:
    async with node_with(jwt=section()) as node:
        await log_in(node, token())
        async with node.base.database.connection() as connection:
            await connection.execute("UPDATE users SET deactivated_ts = 1")
        assert (await log_in(node, token())).errcode == (403, "M_USER_DEACTIVATED")
