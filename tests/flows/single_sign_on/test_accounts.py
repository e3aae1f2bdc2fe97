"""Which account somebody gets who comes from a provider."""

import asyncio
from typing import Any

import pytest

from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
from homeserver.config.sections.single_sign_on import SingleSignOnSection
from homeserver.protocol.identifiers import UserID
from homeserver.storage import accounts, external_identities
from tests.flows.single_sign_on.conftest import (
    BrowserMaker,
    NodeMaker,
    log_in,
    redirect,
    trusting,
)
from tests.support.account_node import AccountNode
from tests.support.browser import Browser
from tests.support.sign_in_providers import FakeOidc

ALICE = UserID("@alice:localhost")


async def test_a_new_account_has_what_the_provider_tells(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    oidc.claims |= {"name": "Alice\u0000 Ä.", "email": "Alice@Example.org", "email_verified": True}
    answer = await log_in(node, await browser.opens(redirect()))
    token = answer.json["access_token"]
    profile = await node.call("GET", f"profile/{ALICE}", token=token)
    assert profile.json == {"displayname": "Alice Ä."}
    [address] = (await node.call("GET", "account/3pid", token=token)).json["threepids"]
    assert (address["medium"], address["address"]) == ("email", "alice@example.org")


@pytest.mark.parametrize(
    "claims", [{"email_verified": False}, {}, {"email": "nonsense", "email_verified": True}]
)
async def test_an_address_that_nobody_has_verified_is_left_out(
    node: AccountNode, browser: Browser, oidc: FakeOidc, claims: dict[str, Any]
) -> None:
    oidc.claims |= {"email": "alice@example.org", **claims}
    answer = await log_in(node, await browser.opens(redirect()))
    addresses = await node.call("GET", "account/3pid", token=answer.json["access_token"])
    assert addresses.json == {"threepids": []}


async def test_an_address_of_somebody_else_stays_there(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    oidc.claims |= {"email": "shared@example.org", "email_verified": True}
    first = await log_in(node, await browser.opens(redirect()))
    oidc.claims |= {"sub": "2", "preferred_username": "bob"}
    second = await log_in(node, await browser.opens(redirect()))
    found = [
        len(
            (await node.call("GET", "account/3pid", token=a.json["access_token"])).json["threepids"]
        )
        for a in (first, second)
    ]
    assert found == [1, 0]


async def test_a_name_that_is_taken_is_chosen_anew(node: AccountNode, browser: Browser) -> None:
    await node.register("alice")
    page = await browser.opens(redirect())
    assert (page.status, 'value="alice"' in page.text) == (200, True)
    for wrong in ("alice", "", "ä"):
        again = await browser.submits(page, username=wrong)
        assert (again.status, 'role="alert"' in again.text) == (400, True)
    landed = await browser.submits(again, username=" Alice2 ")
    assert (await log_in(node, landed)).json["user_id"] == "@alice2:localhost"
    later = await log_in(node, await browser.opens(redirect()))
    assert later.json["user_id"] == "@alice2:localhost"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "x" * 300, "\ud800", "a\0b"])
async def test_a_bad_name_is_refused_on_the_page(
    node: AccountNode, browser: Browser, name: str
) -> None:
    await node.register("alice")
    page = await browser.opens(redirect())
    again = await browser.submits(page, username=name.encode(errors="replace").decode())
    assert (again.status, "<script" in again.text) == (400, False)


async def test_a_provider_that_tells_no_name_lets_the_user_choose(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    oidc.claims = {"sub": "1", "preferred_username": ["not", "text"], "email": 1}
    oidc.claims.pop("preferred_username")
    page = await browser.opens(redirect())
    landed = await browser.submits(page, username="chosen")
    assert (await log_in(node, landed)).json["user_id"] == "@chosen:localhost"


async def test_a_name_that_is_given_cannot_be_changed_by_the_form(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    policy = Policy(
        id="p", version="1", languages={"en": PolicyText(name="Terms", url="https://x.example")}
    )
    async with sso_node(
        single_sign_on=trusting(oidc_providers=(oidc.settings(),)),
        registration=RegistrationSection(without_verification=True, terms=(policy,)),
    ) as node:
        page = await new_browser(node).opens(redirect())
        assert "https://x.example" in page.text
        browser = new_browser(node)
        page = await browser.opens(redirect())
        landed = await browser.submits(page, username="admin")
        assert (await log_in(node, landed)).json["user_id"] == ALICE
        async with node.base.database.connection() as connection:
            assert await accounts.accepted_terms(connection, ALICE) == [("p", "1")]


async def test_users_may_choose_where_it_is_configured(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = trusting(oidc_providers=(oidc.settings(asks_username=True),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        page = await browser.opens(redirect())
        landed = await browser.submits(page, username="other")
        assert (await log_in(node, landed)).json["user_id"] == "@other:localhost"


@pytest.mark.parametrize(
    ("name", "localpart"),
    [
        ("Alice", "alice"),
        ("alice@example.org", "alice=40example.org"),
        ("J\u00f6rg", "j=c3=b6rg"),
        ("a=b", "a=3db"),
    ],
)
async def test_names_of_other_alphabets_are_mapped(
    node: AccountNode, browser: Browser, oidc: FakeOidc, name: str, localpart: str
) -> None:
    oidc.claims["preferred_username"] = name
    answer = await log_in(node, await browser.opens(redirect()))
    assert answer.json["user_id"] == f"@{localpart}:localhost"


async def test_an_existing_account_is_taken_over_only_where_it_is_configured(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = trusting(oidc_providers=(oidc.settings(allow_existing_users=True),))
    async with sso_node(single_sign_on=section) as node:
        await node.register("alice")
        browser = new_browser(node)
        assert (await log_in(node, await browser.opens(redirect()))).json["user_id"] == ALICE
        # Once it belongs to an identity, another one with its name does not get it.
        oidc.claims["sub"] = "impostor"
        assert (await browser.opens(redirect())).status == 200


async def test_a_locked_account_is_not_replaced_by_another(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = trusting(oidc_providers=(oidc.settings(allow_existing_users=True),))
    async with sso_node(single_sign_on=section) as node:
        await node.register("alice")
        await node.layer.accounts.set_locked(ALICE, is_locked=True)
        seen = await new_browser(node).opens(redirect())
        assert (seen.status, "locked" in seen.text) == (403, True)


async def test_without_registration_only_known_users_log_in(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    settings = oidc.settings(registration_enabled=False)
    async with sso_node(single_sign_on=trusting(oidc_providers=(settings,))) as node:
        await node.register("alice")
        browser = new_browser(node)
        assert (await browser.opens(redirect())).status == 403
        async with node.base.database.connection() as connection:
            assert await external_identities.insert(connection, "oidc", "subject-1", ALICE, 0)
        assert (await log_in(node, await browser.opens(redirect()))).json["user_id"] == ALICE


@pytest.mark.parametrize(
    ("required", "claims", "may_enter"),
    [
        ({"groups": "staff"}, {"groups": ["guests", "staff"]}, True),
        ({"groups": "staff"}, {"groups": "staff"}, True),
        ({"groups": "staff"}, {"groups": ["guests"]}, False),
        ({"groups": "staff"}, {}, False),
        ({"groups": "staff", "active": "true"}, {"groups": "staff", "active": True}, True),
        ({"groups": "staff", "active": "true"}, {"groups": "staff"}, False),
        ({"active": "on", "level": "3"}, {"active": True, "level": 3}, True),
        ({"level": "3"}, {"level": {"3": "3"}}, False),
    ],
)
async def test_required_attributes_keep_others_out(
    sso_node: NodeMaker,
    new_browser: BrowserMaker,
    oidc: FakeOidc,
    required: dict[str, str],
    claims: dict[str, Any],
    may_enter: bool,
) -> None:
    settings = oidc.settings(required_attributes=required)
    oidc.claims |= claims
    async with sso_node(single_sign_on=trusting(oidc_providers=(settings,))) as node:
        seen = await new_browser(node).opens(redirect())
        assert (seen.is_elsewhere, seen.status) == (may_enter, 0 if may_enter else 403)


async def test_templates_cannot_leave_their_sandbox(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    settings = oidc.settings(
        localpart_template="{{ user.email.split('@')[0] }}",
        display_name_template="{{ ''.__class__.__mro__[1].__subclasses__() }}",
    )
    oidc.claims |= {"email": "dora@example.org"}
    async with sso_node(single_sign_on=trusting(oidc_providers=(settings,))) as node:
        answer = await log_in(node, await new_browser(node).opens(redirect()))
        assert answer.json["user_id"] == "@dora:localhost"
        token = answer.json["access_token"]
        profile = await node.call("GET", "profile/@dora:localhost", token=token)
        assert profile.json == {"displayname": "dora"}


@pytest.mark.parametrize("state", ["locked", "deactivated"])
async def test_accounts_that_have_ended_are_told_so(
    node: AccountNode, browser: Browser, state: str
) -> None:
    await log_in(node, await browser.opens(redirect()))
    if state == "locked":
        await node.layer.accounts.set_locked(ALICE, is_locked=True)
    else:
        async with node.base.database.connection() as connection:
            assert await accounts.deactivate(connection, ALICE, 1, is_erased=False)
    seen = await browser.opens(redirect())
    assert (seen.status, state in seen.text) == (403, True)


async def test_two_requests_of_one_identity_make_one_account(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    oidc.claims = {"sub": "1"}
    section = SingleSignOnSection(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=section) as node:
        browsers = [new_browser(node), new_browser(node)]
        pages = [await each.opens(redirect()) for each in browsers]
        seen = await asyncio.gather(
            *(
                browser.submits(page, username=f"name{number}")
                for number, (browser, page) in enumerate(zip(browsers, pages, strict=True))
            )
        )
        # Whoever loses the race is asked again, and then gets what the other has made.
        again = [
            await browser.submits(page) if page.status == 400 else page
            for browser, page in zip(browsers, seen, strict=True)
        ]
        users = {(await log_in(node, page)).json["user_id"] for page in again}
        assert len(users) == 1
