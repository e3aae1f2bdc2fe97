"""Users without a password confirm operations at their provider.

Spec: client-server-api/#sso-during-user-interactive-authentication
"""

from typing import Any

import pytest

from homeserver.config.sections.single_sign_on import SingleSignOnSection
from homeserver.protocol.identifiers import UserID
from homeserver.storage import accounts
from tests.flows.single_sign_on.conftest import BrowserMaker, NodeMaker, log_in, redirect, trusting
from tests.support.account_node import AccountNode, Answer
from tests.support.browser import BASE_URL, Browser
from tests.support.key_uploads import CrossSigner
from tests.support.sign_in_providers import FakeCas, FakeOidc

PAGE = "/_matrix/client/v3/auth/m.login.sso/fallback/web"


@pytest.fixture
async def token(node: AccountNode, browser: Browser) -> str:
    """The token of a user who has an account through a provider only."""
    return str((await log_in(node, await browser.opens(redirect()))).json["access_token"])


async def asks(node: AccountNode, token: str, device: str = "OTHER") -> str:
    """Ask for what has to be confirmed and return the session."""
    challenge = await node.call("POST", "delete_devices", {"devices": [device]}, token)
    assert (challenge.status, challenge.json["flows"]) == (401, [{"stages": ["m.login.sso"]}])
    return str(challenge.json["session"])


async def finishes(node: AccountNode, token: str, session: str) -> Answer:
    return await node.call("POST", "delete_devices", {"auth": {"session": session}}, token)


async def opens(browser: Browser, session: str) -> Any:
    return await browser.opens(f"{BASE_URL}{PAGE}?session={session}")


async def test_an_operation_is_confirmed_at_the_provider(
    node: AccountNode, browser: Browser, oidc: FakeOidc, token: str
) -> None:
    session = await asks(node, token)
    page = await opens(browser, session)
    assert "remove devices" in page.text
    assert 'value="oidc"' in page.text
    assert (await finishes(node, token, session)).status == 401
    done = await browser.submits(page, provider="oidc")
    assert (done.status, "window.onAuthDone" in done.text) == (200, True)
    # The user is to show that it is not only the browser.
    assert oidc.authorizations[-1]["prompt"] == "login"
    assert (await finishes(node, token, session)).status == 200
    assert not browser.cookies


async def test_a_completed_stage_shows_that_it_is_done(
    node: AccountNode, browser: Browser, token: str
) -> None:
    session = await asks(node, token)
    await browser.submits(await opens(browser, session), provider="oidc")
    assert "window.onAuthDone" in (await opens(browser, session)).text


async def test_cross_signing_keys_are_replaced_after_it(
    node: AccountNode, browser: Browser, token: str
) -> None:
    path = "/_matrix/client/v3/keys/device_signing/upload"
    user_id = "@alice:localhost"
    assert (await node.call("POST", path, CrossSigner(user_id).keys, token)).status == 200
    challenge = await node.call("POST", path, CrossSigner(user_id).keys, token)
    assert challenge.status == 401
    session = challenge.json["session"]
    page = await opens(browser, session)
    assert "replace cross-signing keys" in page.text
    assert (await browser.submits(page, provider="oidc")).status == 200
    again = await node.call("POST", path, {"auth": {"session": session}}, token)
    assert again.status == 200


async def test_another_user_of_the_provider_confirms_nothing(
    node: AccountNode, browser: Browser, oidc: FakeOidc, token: str
) -> None:
    session = await asks(node, token)
    page = await opens(browser, session)
    oidc.claims = {"sub": "2", "preferred_username": "bob"}
    # Nobody at all, and somebody else.
    assert (await browser.submits(page, provider="oidc")).status == 403
    await log_in(node, await browser.opens(redirect()))
    seen = await browser.submits(await opens(browser, session), provider="oidc")
    assert (seen.status, "another user" in seen.text) == (403, True)
    assert (await finishes(node, token, session)).status == 401


async def test_a_client_cannot_say_itself_that_the_stage_is_passed(
    node: AccountNode, token: str
) -> None:
    session = await asks(node, token)
    auth = {"type": "m.login.sso", "session": session, "user": "@alice:localhost"}
    answer = await node.call("POST", "delete_devices", {"devices": ["A"], "auth": auth}, token)
    assert answer.errcode == (401, "M_UNAUTHORIZED")


async def test_a_page_of_another_site_cannot_begin_it(
    node: AccountNode, browser: Browser, token: str
) -> None:
    page = await opens(browser, await asks(node, token))
    cookies, browser.cookies = browser.cookies, {}
    assert (await browser.submits(page, provider="oidc")).status == 403
    browser.cookies = cookies
    assert (await browser.submits(page, provider="other")).status == 404
    # Each page is good for one attempt.
    assert (await browser.submits(page, provider="oidc")).status == 403


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("?session=", 403), ("?session=invented", 403)]
)
async def test_there_is_a_page_only_for_what_was_asked(
    browser: Browser, query: str, status: int
) -> None:
    assert (await browser.opens(f"{BASE_URL}{PAGE}{query}")).status == status


async def test_a_session_that_wants_something_else_has_no_such_page(
    node: AccountNode, browser: Browser
) -> None:
    made = await node.register("bob")
    challenge = await node.call("POST", "delete_devices", {"devices": ["A"]}, made["access_token"])
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    assert (await opens(browser, challenge.json["session"])).status == 403


async def test_whoever_has_a_password_too_may_choose(
    node: AccountNode, token: str, browser: Browser
) -> None:
    capability = await node.call("GET", "capabilities", token=token)
    assert capability.json["capabilities"]["m.change_password"] == {"enabled": False}
    password_hash = await node.layer.passwords.hash("secret")
    async with node.base.database.connection() as connection:
        assert await accounts.set_password(connection, "@alice:localhost", password_hash)
    challenge = await node.call("POST", "delete_devices", {"devices": ["A"]}, token)
    assert challenge.json["flows"] == [
        {"stages": ["m.login.password"]},
        {"stages": ["m.login.sso"]},
    ]
    session = challenge.json["session"]
    await browser.submits(await opens(browser, session), provider="oidc")
    assert (await finishes(node, token, session)).status == 200


async def test_only_the_providers_of_the_user_are_offered(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc, cas: FakeCas
) -> None:
    section = trusting(oidc_providers=(oidc.settings(),), cas_providers=(cas.settings(),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        landed = await browser.opens(redirect(provider="cas"))
        token = (await log_in(node, landed)).json["access_token"]
        session = await asks(node, token)
        page = await opens(browser, session)
        assert 'value="oidc"' not in page.text
        done = await browser.submits(page, provider="cas")
        assert "window.onAuthDone" in done.text
        assert cas.logins[-1]["renew"] == cas.validations[-1]["renew"] == "true"
        assert (await finishes(node, token, session)).status == 200


async def test_it_is_begun_at_one_node_and_finished_at_another(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = trusting(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=section) as one, sso_node(single_sign_on=section) as two:
        browser = new_browser(one, two)
        token = (await log_in(one, await browser.opens(redirect()))).json["access_token"]
        session = await asks(one, token)
        done = await browser.submits(await opens(browser, session), provider="oidc")
        assert done.status == 200
        assert (await finishes(two, token, session)).status == 200


async def test_the_account_can_be_ended_and_is_not_made_anew(
    node: AccountNode, browser: Browser, token: str
) -> None:
    challenge = await node.call("POST", "account/deactivate", {}, token)
    session = challenge.json["session"]
    page = await opens(browser, session)
    assert "deactivate account" in page.text
    await browser.submits(page, provider="oidc")
    ended = await node.call("POST", "account/deactivate", {"auth": {"session": session}}, token)
    assert ended.status == 200
    seen = await browser.opens(redirect())
    assert (seen.status, "deactivated" in seen.text) == (403, True)


async def test_without_the_provider_nothing_can_be_confirmed(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    async with sso_node(single_sign_on=trusting(oidc_providers=(oidc.settings(),))) as node:
        token = (await log_in(node, await new_browser(node).opens(redirect()))).json["access_token"]
    async with sso_node(single_sign_on=SingleSignOnSection()) as later:
        assert UserID("@alice:localhost") == (await later.whoami(token)).json["user_id"]
        answer = await later.call("POST", "delete_devices", {"devices": ["A"]}, token)
        assert answer.errcode == (403, "M_FORBIDDEN")
