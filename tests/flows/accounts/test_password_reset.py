"""A new password by e-mail. Spec: client-server-api/#password-management"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.email_addresses import add, ask, confirm, verify
from tests.support.mail import Mailbox, link_of

STAGE = "m.login.email.identity"
REQUEST = "account/password/email/requestToken"


@pytest.fixture
async def node(node_with: NodeMaker, mailbox: Mailbox) -> AsyncIterator[AccountNode]:
    async with node_with(email=mailbox.section()) as running:
        yield running


@pytest.fixture
async def alice(node: AccountNode, mailbox: Mailbox) -> str:
    """The token of a user with an address."""
    token = str((await node.register("alice"))["access_token"])
    assert (await add(node, token, await verify(node, mailbox))).status == 200
    return token


async def reset(node: AccountNode, sid: str, password: str = "newer", **form: Any) -> Answer:
    credentials = {"sid": sid, "client_secret": "s3cret"}
    auth = {"type": STAGE, "threepid_creds": credentials, "threepidCreds": credentials}
    body = {"new_password": password, "auth": auth, **form}
    return await node.call("POST", "account/password", body)


async def test_the_owner_of_the_address_sets_a_new_password_and_ends_all_sessions(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = await verify(node, mailbox, REQUEST)
    assert (await reset(node, sid)).json == {}
    assert not await node.is_known(alice)
    assert (await node.log_in("alice")).errcode == (403, "M_FORBIDDEN")
    assert (await node.log_in("alice", "newer")).status == 200


async def test_sessions_stay_if_the_user_wants_it(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = await verify(node, mailbox, REQUEST)
    assert (await reset(node, sid, logout_devices=False)).status == 200
    assert await node.is_known(alice)


async def test_before_the_link_is_opened_nothing_happens(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = (await ask(node, REQUEST)).json["sid"]
    link = link_of(await mailbox.next_text())
    answer = await reset(node, sid)
    assert answer.errcode == (401, "M_UNAUTHORIZED")
    assert answer.json["flows"] == [{"stages": [STAGE]}]
    assert (await node.log_in("alice")).status == 200
    await confirm(node, link)
    assert (await reset(node, sid)).status == 200


async def test_a_mail_resets_one_password(node: AccountNode, mailbox: Mailbox, alice: str) -> None:
    sid = await verify(node, mailbox, REQUEST)
    assert (await reset(node, sid)).status == 200
    assert (await reset(node, sid, "newest")).errcode == (401, "M_UNAUTHORIZED")
    assert (await node.log_in("alice", "newer")).status == 200


async def test_an_address_that_was_verified_for_something_else_resets_nothing(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    # Whoever is led to open a link that adds an address must not lose the account by it.
    async with node.base.database.connection() as connection:
        await connection.execute("UPDATE third_party_ids SET address = 'x@example.org'")
    sid = await verify(node, mailbox, client_secret="s3cret")
    async with node.base.database.connection() as connection:
        await connection.execute("UPDATE third_party_ids SET address = 'alice@example.org'")
    assert (await reset(node, sid)).errcode == (401, "M_UNAUTHORIZED")


async def test_an_address_of_nobody_gets_a_mail_without_a_link(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    answer = await ask(node, REQUEST, email="nobody@example.org")
    assert answer.status == 200
    text = await mailbox.next_text()
    assert "No account" in text
    assert "http" not in text
    assert (await reset(node, answer.json["sid"])).errcode == (401, "M_UNAUTHORIZED")


async def test_a_removed_address_resets_nothing(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = await verify(node, mailbox, REQUEST)
    form = {"medium": "email", "address": "alice@example.org"}
    await node.call("POST", "account/3pid/delete", form, alice)
    assert (await reset(node, sid)).errcode == (403, "M_FORBIDDEN")
    assert (await node.log_in("alice")).status == 200


async def test_an_address_that_looks_like_it_is_not_written_to(
    node: AccountNode, mailbox: Mailbox
) -> None:
    token = str((await node.register("bob"))["access_token"])
    sid = await verify(node, mailbox, email="strauss@example.org")
    await add(node, token, sid)
    await ask(node, REQUEST, email="Strauß@Example.org")
    await mailbox.next()
    # The one that both fold to: another mailbox would get another user's link.
    assert mailbox.recipients[-1] == "strauss@example.org"


async def test_wrong_requests(node: AccountNode, alice: str) -> None:
    stage = {"type": STAGE}
    for body, refusal in [
        ({}, (400, "M_MISSING_PARAM")),
        ({"new_password": 1}, (400, "M_BAD_JSON")),
        ({"new_password": ""}, (400, "M_WEAK_PASSWORD")),
        ({"new_password": "x", "logout_devices": 1}, (400, "M_BAD_JSON")),
        ({"new_password": "x"}, (401, None)),
        ({"new_password": "x", "auth": stage}, (401, "M_MISSING_PARAM")),
        ({"new_password": "x", "auth": {"type": "m.login.password"}}, (401, "M_UNAUTHORIZED")),
        ({"new_password": "x", "auth": {"type": "m.login.dummy"}}, (401, "M_UNAUTHORIZED")),
    ]:
        answer = await node.call("POST", "account/password", body)
        assert answer.errcode == refusal, body
    answer = await node.call("POST", "account/password", {"new_password": "x"}, "unknown")
    assert answer.errcode == (401, "M_UNKNOWN_TOKEN")


async def test_users_who_are_logged_in_still_show_their_password(
    node: AccountNode, alice: str
) -> None:
    answer = await node.call("POST", "account/password", {"new_password": "x"}, alice)
    assert answer.json["flows"] == [{"stages": ["m.login.password"]}]
