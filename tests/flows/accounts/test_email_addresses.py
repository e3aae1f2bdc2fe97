"""Spec: client-server-api/#adding-account-administrative-contact-information"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.config.sections.rate_limits import (
    RateLimitGroups,
    RateLimitSettings,
    RateLimitsSection,
)
from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode
from tests.support.clock import FakeClock
from tests.support.email_addresses import ADD, CONFIRM, add, addresses, ask, confirm, verify
from tests.support.mail import Mailbox, link_of

DAY_SECONDS = 24 * 3600


@pytest.fixture
async def node(node_with: NodeMaker, mailbox: Mailbox) -> AsyncIterator[AccountNode]:
    async with node_with(email=mailbox.section()) as running:
        yield running


@pytest.fixture
async def alice(node: AccountNode) -> str:
    return str((await node.register("alice"))["access_token"])


@pytest.fixture
async def bob(node: AccountNode) -> str:
    return str((await node.register("bob"))["access_token"])


async def test_a_verified_address_is_added_and_logs_in(
    node: AccountNode, mailbox: Mailbox, alice: str, clock: FakeClock
) -> None:
    sid = await verify(node, mailbox, email="Alice@Example.org")
    assert mailbox.recipients == ["alice@example.org"]
    clock.tick(5)
    assert (await add(node, alice, sid)).json == {}
    listed = (await node.call("GET", "account/3pid", token=alice)).json["threepids"]
    assert listed == [
        {
            "medium": "email",
            "address": "alice@example.org",
            "validated_at": clock.now_ms() - 5000,
            "added_at": clock.now_ms(),
        }
    ]
    identifier = {"type": "m.id.thirdparty", "medium": "email", "address": "ALICE@example.org"}
    form = {"type": "m.login.password", "identifier": identifier, "password": "secret"}
    answer = await node.call("POST", "login", form)
    assert answer.json["user_id"] == "@alice:localhost"


async def test_an_unknown_address_logs_nobody_in(node: AccountNode, alice: str) -> None:
    for address in ("alice@example.org", "no address", "@"):
        identifier = {"type": "m.id.thirdparty", "medium": "email", "address": address}
        form = {"type": "m.login.password", "identifier": identifier, "password": "secret"}
        assert (await node.call("POST", "login", form)).errcode == (403, "M_FORBIDDEN")


async def test_looking_at_the_page_confirms_nothing(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = (await ask(node)).json["sid"]
    link = link_of(await mailbox.next_text())
    page = await node.call("GET", CONFIRM, params=link)
    assert page.status == 200
    assert "alice@example.org" in page.json
    assert (await add(node, alice, sid)).errcode == (400, "M_THREEPID_AUTH_FAILED")
    await confirm(node, link)
    assert (await add(node, alice, sid)).status == 200


async def test_adding_takes_the_password(node: AccountNode, mailbox: Mailbox, alice: str) -> None:
    sid = await verify(node, mailbox)
    assert (await add(node, alice, sid, password="wrong")).errcode == (401, "M_FORBIDDEN")
    assert await addresses(node, alice) == []


async def test_a_session_is_of_no_use_with_another_secret_or_to_another_user_afterwards(
    node: AccountNode, mailbox: Mailbox, alice: str, bob: str
) -> None:
    sid = await verify(node, mailbox)
    refused = (400, "M_THREEPID_AUTH_FAILED")
    assert (await add(node, bob, sid, secret="guessed")).errcode == refused
    assert (await add(node, bob, "invented")).errcode == refused
    assert (await add(node, alice, sid)).status == 200
    assert (await add(node, bob, sid)).errcode == refused
    assert await addresses(node, bob) == []


async def test_an_address_belongs_to_one_account(
    node: AccountNode, mailbox: Mailbox, alice: str, bob: str
) -> None:
    first = await verify(node, mailbox, client_secret="one")
    second = await verify(node, mailbox, client_secret="two")
    assert (await add(node, alice, first, "one")).status == 200
    assert (await add(node, bob, second, "two")).errcode == (400, "M_THREEPID_IN_USE")
    assert (await add(node, alice, second, "two")).status == 200


async def test_whoever_asks_for_a_taken_address_learns_nothing_and_the_owner_does(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    await add(node, alice, await verify(node, mailbox))
    for path in (ADD, "register/email/requestToken"):
        answer = await ask(node, path, client_secret="other")
        assert answer.status == 200
        text = await mailbox.next_text()
        assert "has it already" in text
        assert "http" not in text


async def test_accounts_may_be_told_of_at_once(node_with: NodeMaker, mailbox: Mailbox) -> None:
    section = ThirdPartyIdsSection(accounts_concealed=False)
    async with node_with(email=mailbox.section(), third_party_ids=section) as node:
        token = str((await node.register("alice"))["access_token"])
        reset = "account/password/email/requestToken"
        assert (await ask(node, reset)).errcode == (400, "M_THREEPID_NOT_FOUND")
        await add(node, token, await verify(node, mailbox))
        answer = await ask(node, ADD, client_secret="other")
        assert answer.errcode == (400, "M_THREEPID_IN_USE")


async def test_the_same_attempt_sends_one_mail(node: AccountNode, mailbox: Mailbox) -> None:
    first = await ask(node)
    await mailbox.next()
    assert (await ask(node)).json == first.json
    assert (await ask(node, send_attempt=0)).json == first.json
    assert (await ask(node, send_attempt=2)).json == first.json
    second = link_of(await mailbox.next_text())
    assert mailbox.is_empty
    assert second["sid"] == first.json["sid"]


async def test_the_links_of_all_mails_of_a_session_are_good(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = (await ask(node)).json["sid"]
    first = link_of(await mailbox.next_text())
    await ask(node, send_attempt=2)
    await mailbox.next()
    assert (await confirm(node, first)).status == 200
    assert (await add(node, alice, sid)).status == 200


async def test_a_wrong_token_confirms_nothing_and_ten_end_the_session(
    node: AccountNode, mailbox: Mailbox
) -> None:
    await ask(node)
    link = link_of(await mailbox.next_text())
    for _ in range(10):
        assert (await confirm(node, {**link, "token": "wrong"})).status == 400
    assert (await confirm(node, link)).status == 400


async def test_links_and_verifications_expire(
    node: AccountNode, mailbox: Mailbox, alice: str, clock: FakeClock
) -> None:
    await ask(node)
    link = link_of(await mailbox.next_text())
    clock.tick(DAY_SECONDS + 1)
    assert (await confirm(node, link)).status == 400
    sid = await verify(node, mailbox)
    clock.tick(DAY_SECONDS + 1)
    alice = str((await node.log_in("alice")).json["access_token"])
    assert (await add(node, alice, sid)).errcode == (400, "M_THREEPID_AUTH_FAILED")


async def test_a_verification_is_good_for_what_the_mail_said_only(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = await verify(node, mailbox, "register/email/requestToken")
    assert (await add(node, alice, sid)).errcode == (400, "M_THREEPID_AUTH_FAILED")


async def test_the_browser_is_led_on_to_hosts_of_the_list_only(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    section = ThirdPartyIdsSection(next_link_hosts=("app.example.org",))
    async with node_with(email=mailbox.section(), third_party_ids=section) as node:
        wanted = "https://app.example.org/#/done"
        await ask(node, next_link=wanted)
        link = link_of(await mailbox.next_text())
        page = await node.call("GET", CONFIRM, params=link)
        policy = page.headers["Content-Security-Policy"]
        assert "form-action 'self' https://app.example.org;" in policy
        answer = await node.call("POST", CONFIRM, data=link, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, wanted)
        await ask(node, client_secret="2", next_link="https://app.example.org.evil.example/")
        stays = await confirm(node, link_of(await mailbox.next_text()))
        assert stays.status == 200


async def test_only_addresses_that_the_operator_allows(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    section = ThirdPartyIdsSection(allowed_addresses=("*@example.org",), changes_enabled=False)
    async with node_with(email=mailbox.section(), third_party_ids=section) as node:
        answer = await ask(node, email="alice@elsewhere.example")
        assert answer.errcode == (403, "M_THREEPID_DENIED")
        token = str((await node.register("alice"))["access_token"])
        answer = await add(node, token, await verify(node, mailbox))
        assert answer.errcode == (403, "M_FORBIDDEN")
        capabilities = (await node.call("GET", "capabilities", token=token)).json["capabilities"]
        assert capabilities["m.3pid_changes"] == {"enabled": False}


async def test_a_removed_address_is_gone(node: AccountNode, mailbox: Mailbox, alice: str) -> None:
    await add(node, alice, await verify(node, mailbox))
    form = {"medium": "email", "address": "ALICE@example.org"}
    answer = await node.call("POST", "account/3pid/delete", form, alice)
    assert answer.json == {"id_server_unbind_result": "no-support"}
    assert await addresses(node, alice) == []


async def test_nobody_removes_the_address_of_somebody_else(
    node: AccountNode, mailbox: Mailbox, alice: str, bob: str
) -> None:
    await add(node, alice, await verify(node, mailbox))
    form = {"medium": "email", "address": "alice@example.org"}
    assert (await node.call("POST", "account/3pid/delete", form, bob)).status == 200
    assert await addresses(node, alice) == ["alice@example.org"]


async def test_a_deactivated_account_has_no_address(
    node: AccountNode, mailbox: Mailbox, alice: str, bob: str
) -> None:
    await add(node, alice, await verify(node, mailbox))
    auth = {"type": "m.login.password", "password": "secret"}
    answer = await node.call("POST", "account/deactivate", {"auth": auth}, alice)
    assert answer.json == {"id_server_unbind_result": "no-support"}
    second = await verify(node, mailbox, client_secret="again")
    assert (await add(node, bob, second, "again")).status == 200


async def test_the_deprecated_form_adds_what_this_server_has_verified(
    node: AccountNode, mailbox: Mailbox, alice: str
) -> None:
    sid = await verify(node, mailbox)
    form: dict[str, Any] = {"three_pid_creds": {"sid": sid, "client_secret": "s3cret"}}
    assert (await node.call("POST", "account/3pid", form, alice)).status == 401
    form["auth"] = {"type": "m.login.password", "password": "secret"}
    assert (await node.call("POST", "account/3pid", form, alice)).status == 200
    assert await addresses(node, alice) == ["alice@example.org"]
    again = await node.call("POST", "account/3pid", form, alice)
    assert again.errcode == (403, "M_THREEPID_AUTH_FAILED")


PHONE = {"client_secret": "x", "country": "GB", "phone_number": "07700900001", "send_attempt": 1}


AREAS = ("register", "account/3pid", "account/password")


async def test_phone_numbers_are_not_supported(node: AccountNode) -> None:
    for area in AREAS:
        answer = await node.call("POST", f"{area}/msisdn/requestToken", PHONE)
        assert answer.errcode == (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"), area


async def test_without_a_mail_server_nothing_is_verified(node_with: NodeMaker) -> None:
    async with node_with() as node:
        for area in AREAS:
            answer = await ask(node, f"{area}/email/requestToken")
            assert answer.errcode == (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"), area
        assert (await node.call("POST", "account/password", {})).errcode == (
            401,
            "M_MISSING_TOKEN",
        )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"client_secret": ""}, "M_INVALID_PARAM"),
    ({"client_secret": "a b"}, "M_INVALID_PARAM"),
    ({"client_secret": "x" * 256}, "M_INVALID_PARAM"),
    ({"client_secret": 1}, "M_BAD_JSON"),
    ({"client_secret": None}, "M_BAD_JSON"),
    ({"email": "alice"}, "M_INVALID_PARAM"),
    ({"email": "a@b@c"}, "M_INVALID_PARAM"),
    ({"email": "Alice <alice@example.org>"}, "M_INVALID_PARAM"),
    ({"email": "mailto:alice@example.org"}, "M_INVALID_PARAM"),
    ({"email": "a@example.org\r\nBcc: b@example.org"}, "M_INVALID_PARAM"),
    ({"email": "a\0@example.org"}, "M_INVALID_PARAM"),
    ({"email": "x" * 250 + "@example.org"}, "M_INVALID_PARAM"),
    ({"email": ["alice@example.org"]}, "M_BAD_JSON"),
    ({"send_attempt": "1"}, "M_BAD_JSON"),
    ({"send_attempt": 2**70}, "M_INVALID_PARAM"),
    ({"send_attempt": 1.5}, "M_BAD_JSON"),
    ({"next_link": "javascript:alert(1)"}, "M_INVALID_PARAM"),
    ({"next_link": "https://"}, "M_INVALID_PARAM"),
    ({"next_link": "https://[::1"}, "M_INVALID_PARAM"),
    ({"next_link": 1}, "M_BAD_JSON"),
]


async def test_wrong_requests_for_mail(node: AccountNode) -> None:
    for form, errcode in BAD:
        assert (await ask(node, **form)).errcode == (400, errcode), form


async def test_incomplete_requests_for_mail(node: AccountNode) -> None:
    whole = {"client_secret": "x", "email": "alice@example.org", "send_attempt": 1}
    for area in AREAS:
        for name in whole:
            form = {other: value for other, value in whole.items() if other != name}
            answer = await node.call("POST", f"{area}/email/requestToken", form)
            assert answer.errcode == (400, "M_MISSING_PARAM"), (area, name)


BAD_CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("add", {}, "M_MISSING_PARAM"),
    ("add", {"sid": 1, "client_secret": "x"}, "M_BAD_JSON"),
    ("add", {"sid": "a\0", "client_secret": "x"}, "M_INVALID_PARAM"),
    ("bind", {"sid": "x", "client_secret": "x", "id_server": "matrix.org"}, "M_MISSING_PARAM"),
    ("delete", {"medium": "email"}, "M_MISSING_PARAM"),
    ("delete", {"medium": "pigeon", "address": "x"}, "M_INVALID_PARAM"),
    ("delete", {"medium": "email", "address": "x"}, "M_INVALID_PARAM"),
    ("unbind", {"address": "a@example.org"}, "M_MISSING_PARAM"),
    ("unbind", {"medium": "msisdn", "address": "+44"}, "M_INVALID_PARAM"),
]


async def test_wrong_changes_of_addresses(node: AccountNode, alice: str) -> None:
    for operation, form, errcode in BAD_CHANGES:
        path = f"account/3pid/{operation}"
        assert (await node.call("POST", path, form, alice)).errcode == (400, errcode), form
        assert (await node.call("POST", path, form)).errcode == (401, "M_MISSING_TOKEN")


async def test_links_that_lead_nowhere(node: AccountNode) -> None:
    for link in ({}, {"sid": "x"}, {"sid": "x", "token": "y"}, {"sid": "a\0", "token": "\0"}):
        assert (await confirm(node, link)).status == 400, link


async def test_old_paths_answer_too(node: AccountNode, alice: str) -> None:
    old = "/_matrix/client/r0/account/3pid"
    assert (await node.call("GET", old, token=alice)).json == {"threepids": []}
    unstable = "/_matrix/client/unstable/account/3pid/add"
    assert (await node.call("POST", unstable, {}, alice)).errcode == (400, "M_MISSING_PARAM")


async def test_an_address_gets_no_more_than_a_few_mails(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    limits = RateLimitsSection(
        groups=RateLimitGroups(mail=RateLimitSettings(per_second=0.001, burst=2))
    )
    async with node_with(email=mailbox.section(), rate_limits=limits) as node:
        for attempt in (1, 2):
            assert (await ask(node, send_attempt=attempt)).status == 200
        assert (await ask(node, send_attempt=3)).errcode == (429, "M_LIMIT_EXCEEDED")
        other = await ask(node, client_secret="other", email="ALICE@example.org")
        assert other.errcode == (429, "M_LIMIT_EXCEEDED")
        # Who only repeats a request is told the same as before.
        assert (await ask(node, send_attempt=2)).status == 200
        assert (await ask(node, email="bob@example.org")).status == 200
