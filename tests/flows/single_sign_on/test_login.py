"""Login of clients through a provider. Spec: client-server-api/#client-login-via-sso"""

import pytest

from homeserver.config.sections.single_sign_on import SingleSignOnSection
from tests.flows.single_sign_on.conftest import (
    APP,
    BrowserMaker,
    NodeMaker,
    log_in,
    redirect,
    trusting,
)
from tests.support.account_node import AccountNode
from tests.support.browser import BASE_URL, CALLBACK, Browser
from tests.support.clock import FakeClock
from tests.support.sign_in_providers import FakeCas, FakeOidc


async def test_a_client_logs_in_through_a_provider(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    landed = await browser.opens(redirect())
    assert landed.url.startswith(f"{APP}&loginToken=")
    answer = await log_in(node, landed)
    assert (answer.status, answer.json["user_id"]) == (200, "@alice:localhost")
    assert (await node.whoami(answer.json["access_token"])).status == 200

    asked = oidc.authorizations[0]
    assert asked["response_type"] == "code"
    assert asked["redirect_uri"] == BASE_URL + CALLBACK
    assert asked["scope"] == "openid profile email"
    assert "prompt" not in asked
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert not browser.cookies


async def test_a_second_login_leads_to_the_same_account(
    node: AccountNode, browser: Browser, oidc: FakeOidc
) -> None:
    first = await log_in(node, await browser.opens(redirect()))
    # What identifies a user is the subject, not the name, which can change hands.
    oidc.claims["preferred_username"] = "renamed"
    second = await log_in(node, await browser.opens(redirect()))
    assert first.json["user_id"] == second.json["user_id"] == "@alice:localhost"


async def test_a_login_token_logs_in_once_and_not_for_long(
    node: AccountNode, browser: Browser, clock: FakeClock
) -> None:
    landed = await browser.opens(redirect())
    assert (await log_in(node, landed)).status == 200
    assert (await log_in(node, landed)).errcode == (403, "M_FORBIDDEN")
    late = await browser.opens(redirect())
    await clock.advance(11)
    assert (await log_in(node, late)).errcode == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    "path",
    [
        "/_matrix/client/v3/login/sso/redirect",
        "/_matrix/client/r0/login/sso/redirect",
        "/_matrix/client/v3/login/sso/redirect/oidc",
        "/_matrix/client/r0/login/sso/redirect/oidc",
        "/_matrix/client/r0/login/cas/redirect",
        "/_matrix/client/unstable/org.matrix.msc2858/login/sso/redirect/oidc",
    ],
)
async def test_all_names_of_the_redirection_lead_to_the_provider(
    browser: Browser, path: str, oidc: FakeOidc
) -> None:
    seen = await browser.opens_once(
        f"{BASE_URL}{path}?redirectUrl=https://app.example/&action=register"
    )
    assert seen.status == 302
    assert seen.headers["Location"].startswith(f"{oidc.issuer}/authorize?")
    [cookie] = browser.set_cookies
    assert cookie.endswith("HttpOnly; SameSite=Lax; Secure")
    assert "Path=/_matrix/client/;" in cookie


async def test_the_flow_tells_of_the_providers(
    sso_node: NodeMaker, oidc: FakeOidc, cas: FakeCas
) -> None:
    section = SingleSignOnSection(
        oidc_providers=(oidc.settings(icon="mxc://localhost/icon", brand="github"),),
        cas_providers=(cas.settings(),),
    )
    async with sso_node(single_sign_on=section) as node:
        flows = (await node.call("GET", "login")).json["flows"]
        assert {
            "type": "m.login.sso",
            "identity_providers": [
                {
                    "id": "oidc",
                    "name": "Example ID",
                    "icon": "mxc://localhost/icon",
                    "brand": "github",
                },
                {"id": "cas", "name": "Campus"},
            ],
        } in flows
        assert "m.login.token" in [flow["type"] for flow in flows]
        refused = await node.call("POST", "login", {"type": "m.login.sso"})
        assert refused.errcode == (400, "M_UNKNOWN")


async def test_without_providers_there_is_no_such_login(
    sso_node: NodeMaker, new_browser: BrowserMaker
) -> None:
    async with sso_node() as node:
        flows = (await node.call("GET", "login")).json["flows"]
        assert "m.login.sso" not in [flow["type"] for flow in flows]
        assert (await new_browser(node).opens(redirect())).status == 404


async def test_the_user_chooses_among_several_providers(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc, cas: FakeCas
) -> None:
    section = trusting(oidc_providers=(oidc.settings(),), cas_providers=(cas.settings(),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        url = "https://app.example/a%2Fb?c=%26&d=é#f"
        page = await browser.opens(redirect(url))
        assert page.status == 200
        landed = await browser.opens(page.links()[1])
        assert landed.url.startswith("https://app.example/a%2Fb?c=%26&d=%C3%A9&loginToken=")
        assert landed.url.endswith("#f")
        assert cas.logins


async def test_a_client_that_nobody_trusts_is_confirmed_by_the_user(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = SingleSignOnSection(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        page = await browser.opens(redirect("io.element.app://connect?a=b"))
        assert page.status == 200
        assert "io.element.app://connect" in page.text
        assert "@alice:localhost" in page.text
        assert "loginToken" not in page.text
        landed = await browser.submits(page)
        assert landed.url.startswith("io.element.app://connect?a=b&loginToken=")
        assert (await log_in(node, landed)).status == 200
        # A page that was sent already is of no more use.
        assert (await browser.submits(page)).status == 403


async def test_a_form_of_another_site_confirms_nothing(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = SingleSignOnSection(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=section) as node:
        browser = new_browser(node)
        page = await browser.opens(redirect("https://evil.example/"))
        cookies, browser.cookies = browser.cookies, {}
        assert (await browser.submits(page)).status == 403
        browser.cookies = cookies
        assert (await browser.submits(page)).is_elsewhere


@pytest.mark.parametrize(
    ("url", "is_trusted"),
    [
        ("https://app.example/", True),
        ("https://app.example/deep/page?q#f", True),
        ("https://APP.example/", True),
        (f"{BASE_URL}/_matrix/static/client/login/?device_id=A", True),
        ("https://app.example.evil.example/", False),
        ("https://app.example:444/", False),
        ("http://app.example/", False),
        (f"{BASE_URL}/_matrix/static/client/login/../../x", False),
        (f"{BASE_URL}/_matrix/static/client/loginother", False),
    ],
)
async def test_only_trusted_clients_get_their_token_at_once(
    browser: Browser, url: str, is_trusted: bool
) -> None:
    seen = await browser.opens(redirect(url))
    if BASE_URL in url and is_trusted:
        assert "loginToken=" in seen.url
    else:
        assert seen.is_elsewhere == is_trusted


async def test_a_token_that_is_in_the_address_already_is_replaced(browser: Browser) -> None:
    landed = await browser.opens(redirect("https://app.example/?loginToken=old&a=1&login%54oken=x"))
    assert landed.url.startswith("https://app.example/?a=1&loginToken=hsl")
    assert landed.url.count("oken=") == 1


async def test_a_flow_goes_on_at_another_node(
    sso_node: NodeMaker, new_browser: BrowserMaker, oidc: FakeOidc
) -> None:
    section = SingleSignOnSection(oidc_providers=(oidc.settings(),))
    async with sso_node(single_sign_on=section) as one, sso_node(single_sign_on=section) as other:
        browser = new_browser(one, other)
        landed = await browser.submits(await browser.opens(redirect()))
        assert (await log_in(other, landed)).json["user_id"] == "@alice:localhost"


async def test_the_login_page_offers_providers(node: AccountNode) -> None:
    page = await node.call("GET", "/_matrix/static/client/login/")
    assert "/sso/redirect" in page.json
    assert "m.login.token" in page.json
