"""Being found by one's address. Spec: client-server-api/#post_matrixclientv3account3pidbind"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.email_addresses import addresses
from tests.support.identity_server import FakeIdentityServer, identity_server

ADDRESS = {"medium": "email", "address": "alice@example.org"}
AUTH = {"type": "m.login.password", "password": "secret"}


@pytest.fixture
async def identity() -> AsyncIterator[FakeIdentityServer]:
    async with identity_server() as running:
        running.sessions["sid"] = ("email", "alice@example.org", "s3cret")
        yield running


@pytest.fixture
async def node(node_with: NodeMaker, identity: FakeIdentityServer) -> AsyncIterator[AccountNode]:
    async with node_with(**identity.sections()) as running:
        yield running


@pytest.fixture
async def alice(node: AccountNode) -> str:
    return str((await node.register("alice"))["access_token"])


async def bind(node: AccountNode, token: str, identity: FakeIdentityServer, **form: Any) -> Answer:
    whole = {"sid": "sid", "client_secret": "s3cret", **identity.credentials, **form}
    return await node.call("POST", "account/3pid/bind", whole, token)


async def test_what_is_bound_can_be_unbound_where_it_was_bound(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    assert (await bind(node, alice, identity)).json == {}
    assert identity.bindings == {("email", "alice@example.org"): "@alice:localhost"}
    # It is no address of the account: that takes another proof.
    assert await addresses(node, alice) == []
    answer = await node.call("POST", "account/3pid/unbind", ADDRESS, alice)
    assert answer.json == {"id_server_unbind_result": "success"}
    assert identity.bindings == {}
    signed = identity.authorizations[-1]
    assert signed.startswith('X-Matrix origin="localhost"')
    again = await node.call("POST", "account/3pid/unbind", ADDRESS, alice)
    assert again.json == {"id_server_unbind_result": "no-support"}


async def test_an_identity_server_may_be_named(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    form = {**ADDRESS, "id_server": identity.name}
    answer = await node.call("POST", "account/3pid/unbind", form, alice)
    assert answer.json == {"id_server_unbind_result": "success"}
    identity.knows_unbind = False
    answer = await node.call("POST", "account/3pid/unbind", form, alice)
    assert answer.json == {"id_server_unbind_result": "no-support"}


async def test_removing_an_address_unbinds_it(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    await bind(node, alice, identity)
    answer = await node.call("POST", "account/3pid/delete", ADDRESS, alice)
    assert answer.json == {"id_server_unbind_result": "success"}
    assert identity.bindings == {}


async def test_the_end_of_an_account_unbinds_its_addresses(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    await bind(node, alice, identity)
    answer = await node.call("POST", "account/deactivate", {"auth": AUTH}, alice)
    assert answer.json == {"id_server_unbind_result": "success"}
    assert identity.bindings == {}


async def test_an_account_ends_even_if_an_identity_server_is_down(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    await bind(node, alice, identity)
    identity.refuses = (500, "broken")
    answer = await node.call("POST", "account/deactivate", {"auth": AUTH}, alice)
    assert answer.json == {"id_server_unbind_result": "no-support"}
    assert not await node.is_known(alice)


async def test_the_deprecated_form_adds_what_an_identity_server_has_verified(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    credentials = {"sid": "sid", "client_secret": "s3cret", **identity.credentials}
    form = {"three_pid_creds": credentials, "auth": AUTH}
    assert (await node.call("POST", "account/3pid", form, alice)).status == 200
    assert await addresses(node, alice) == ["alice@example.org"]
    form["three_pid_creds"] = {**credentials, "client_secret": "guessed"}
    refused = await node.call("POST", "account/3pid", form, alice)
    assert refused.errcode == (404, "M_NO_VALID_SESSION")


async def test_errors_of_an_identity_server_are_passed_on(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    wrong_secret = await bind(node, alice, identity, client_secret="guessed")
    assert wrong_secret.errcode == (404, "M_NO_VALID_SESSION")
    # 401 would make a client believe that it is logged out here.
    assert (await bind(node, alice, identity, id_access_token="x")).errcode == (403, "M_FORBIDDEN")
    for answer, refusal in [
        ((403, {"errcode": "M_TERMS_NOT_SIGNED", "error": "x"}), (403, "M_TERMS_NOT_SIGNED")),
        ((500, "no JSON object"), (502, "M_UNKNOWN")),
        ((200, []), (502, "M_UNKNOWN")),
        ((200, {"medium": "email", "address": "nonsense"}), (502, "M_UNKNOWN")),
        ((302, {"errcode": "M_X", "error": "x"}), (502, "M_UNKNOWN")),
    ]:
        identity.refuses = answer
        assert (await bind(node, alice, identity)).errcode == refusal, answer


async def test_other_identity_servers_are_not_asked(
    node: AccountNode, identity: FakeIdentityServer, alice: str
) -> None:
    for name, refusal in [
        ("identity.example.org", (403, "M_SERVER_NOT_TRUSTED")),
        ("127.0.0.1:1", (403, "M_SERVER_NOT_TRUSTED")),
        (f"{identity.name}/x", (400, "M_INVALID_PARAM")),
        ("https://matrix.org", (400, "M_INVALID_PARAM")),
        ("", (400, "M_INVALID_PARAM")),
    ]:
        assert (await bind(node, alice, identity, id_server=name)).errcode == refusal, name
    assert identity.asked == []
    wrong_token = await bind(node, alice, identity, id_access_token="a\r\nb: c")
    assert wrong_token.errcode == (400, "M_INVALID_PARAM")
