"""Registering with an address. Spec: client-server-api/#email-based-identity--homeserver"""

import re
from typing import Any

from homeserver.config.sections.registration import RegistrationSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer
from tests.support.email_addresses import addresses, ask, confirm, verify
from tests.support.mail import Mailbox, link_of

STAGE = "m.login.email.identity"
REQUEST = "register/email/requestToken"


async def register(node: AccountNode, name: str, sid: str, **auth: Any) -> Answer:
    credentials = {"sid": sid, "client_secret": "s3cret", **auth.pop("credentials", {})}
    proof = {"type": STAGE, "threepid_creds": credentials, **auth}
    return await node.call(
        "POST", "register", {"username": name, "password": "secret", "auth": proof}
    )


async def test_who_may_give_an_address_gets_it_with_the_account(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    async with node_with(email=mailbox.section()) as node:
        challenge = await node.call("POST", "register", {})
        assert challenge.json["flows"] == [{"stages": [STAGE]}, {"stages": ["m.login.dummy"]}]
        sid = await verify(node, mailbox, REQUEST)
        made = await register(node, "alice", sid)
        assert made.status == 200
        assert await addresses(node, made.json["access_token"]) == ["alice@example.org"]


async def test_where_it_is_required_nobody_registers_without(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    section = RegistrationSection(requires_email=True)
    async with node_with(email=mailbox.section(), registration=section) as node:
        dummy = {"username": "alice", "password": "x", "auth": {"type": "m.login.dummy"}}
        refused = await node.call("POST", "register", dummy)
        assert (refused.status, refused.json["flows"]) == (401, [{"stages": [STAGE]}])
        sid = (await ask(node, REQUEST)).json["sid"]
        early = await register(node, "alice", sid)
        # Clients show any other code as an error while they wait for the link to be opened.
        assert early.errcode == (401, "M_UNAUTHORIZED")
        session = early.json["session"]
        await confirm(node, link_of(await mailbox.next_text()))
        assert (await register(node, "alice", sid, session=session)).status == 200


async def test_a_verification_registers_one_account(node_with: NodeMaker, mailbox: Mailbox) -> None:
    async with node_with(email=mailbox.section()) as node:
        sid = await verify(node, mailbox, REQUEST)
        assert (await register(node, "alice", sid)).status == 200
        assert (await register(node, "bob", sid)).errcode == (401, "M_UNAUTHORIZED")


async def test_two_registrations_cannot_have_one_address(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    async with node_with(email=mailbox.section()) as node:
        first = await verify(node, mailbox, REQUEST, client_secret="one")
        second = await verify(node, mailbox, REQUEST, client_secret="two")
        one = {"client_secret": "one"}
        assert (await register(node, "alice", first, credentials=one)).status == 200
        two = {"client_secret": "two"}
        late = await register(node, "bob", second, credentials=two)
        assert late.errcode == (400, "M_THREEPID_IN_USE")
        assert (await node.log_in("bob")).status == 403


async def test_wrong_credentials(node_with: NodeMaker, mailbox: Mailbox) -> None:
    async with node_with(email=mailbox.section()) as node:
        sid = await verify(node, mailbox, REQUEST)
        other = await verify(node, mailbox, "account/3pid/email/requestToken")
        for credentials, errcode in [
            ({"client_secret": "guessed"}, "M_UNAUTHORIZED"),
            ({"sid": other}, "M_UNAUTHORIZED"),
            ({"sid": "invented"}, "M_UNAUTHORIZED"),
            ({"sid": 1}, "M_MISSING_PARAM"),
            ({"sid": None}, "M_MISSING_PARAM"),
            ({"client_secret": ["x"]}, "M_MISSING_PARAM"),
        ]:
            answer = await register(node, "alice", sid, credentials=credentials)
            assert answer.errcode == (401, errcode), credentials
        form = {"username": "alice", "password": "x", "auth": {"type": STAGE, "threepid_creds": 1}}
        assert (await node.call("POST", "register", form)).errcode == (401, "M_MISSING_PARAM")


async def test_no_mail_is_sent_where_nobody_may_register(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    section = RegistrationSection(enabled=False)
    async with node_with(email=mailbox.section(), registration=section) as node:
        assert (await ask(node, REQUEST)).errcode == (403, "M_FORBIDDEN")


async def test_a_client_that_does_not_know_the_stage_shows_a_page(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    section = RegistrationSection(requires_email=True)
    async with node_with(email=mailbox.section(), registration=section) as node:
        form = {"username": "alice", "password": "secret"}
        session = (await node.call("POST", "register", form)).json["session"]
        path = f"auth/{STAGE}/fallback/web"
        shown = await node.call("GET", path, params={"session": session})
        assert 'name="email"' in shown.json
        wrong = await node.call("POST", path, data={"session": session, "email": "alice"})
        assert "no e-mail address" in wrong.json
        asked = {"session": session, "email": "alice@example.org"}
        sent = (await node.call("POST", path, data=asked)).json
        carried = dict(re.findall(r'name="(\w+)" value="([^"]*)"', sent))
        assert carried.keys() == {"session", "sid", "client_secret"}
        early = await node.call("POST", path, data=carried)
        assert early.status == 401
        assert carried["sid"] in early.json
        await confirm(node, link_of(await mailbox.next_text()))
        assert "window.onAuthDone" in (await node.call("POST", path, data=carried)).json
        made = await node.call("POST", "register", {**form, "auth": {"session": session}})
        assert await addresses(node, made.json["access_token"]) == ["alice@example.org"]
