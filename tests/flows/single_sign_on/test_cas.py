"""Login through a Central Authentication Service."""

from tests.flows.single_sign_on.conftest import BrowserMaker, NodeMaker, log_in, redirect, trusting
from tests.support.browser import BASE_URL, CALLBACK
from tests.support.sign_in_providers import FakeCas, cas_answer

SUCCESS = "<cas:authenticationSuccess><cas:user>alice</cas:user></cas:authenticationSuccess>"


async def test_a_client_logs_in_through_a_cas(
    sso_node: NodeMaker, new_browser: BrowserMaker, cas: FakeCas
) -> None:
    cas.user = "Alice & <co>"
    cas.attributes = [("cn", "Alice Ä."), ("mail", "a@example.org"), ("group", "x"), ("group", "y")]
    settings = cas.settings(
        localpart_template="{{ user.mail.split('@')[0] }}",
        display_name_template="{{ user.cn }}",
        email_template="{{ user.mail }}",
        emails_are_verified=True,
        required_attributes={"group": "y"},
    )
    async with sso_node(single_sign_on=trusting(cas_providers=(settings,))) as node:
        answer = await log_in(node, await new_browser(node).opens(redirect()))
        assert answer.json["user_id"] == "@a:localhost"
        token = answer.json["access_token"]
        profile = await node.call("GET", "profile/@a:localhost", token=token)
        assert profile.json == {"displayname": "Alice Ä."}
        assert len((await node.call("GET", "account/3pid", token=token)).json["threepids"]) == 1
        assert cas.validations[0]["path"] == "/cas/p3/serviceValidate"
        assert cas.logins[0]["service"].startswith(f"{BASE_URL}{CALLBACK}?state=")
        assert "renew" not in cas.logins[0]


async def test_the_older_protocol_is_spoken_where_it_is_configured(
    sso_node: NodeMaker, new_browser: BrowserMaker, cas: FakeCas
) -> None:
    section = trusting(cas_providers=(cas.settings(protocol_version=2),))
    async with sso_node(single_sign_on=section) as node:
        answer = await log_in(node, await new_browser(node).opens(redirect()))
        assert answer.json["user_id"] == "@alice:localhost"
        assert cas.validations[0]["path"] == "/cas/serviceValidate"


ANSWERS = [
    (200, cas_answer('<cas:authenticationFailure code="INVALID_TICKET"/>'), 403),
    (200, cas_answer(SUCCESS + "<cas:authenticationFailure/>"), 502),
    (200, cas_answer(SUCCESS + SUCCESS), 502),
    (200, cas_answer(""), 502),
    (200, cas_answer("<cas:authenticationSuccess/>"), 502),
    (
        200,
        cas_answer("<cas:authenticationSuccess><cas:user/></cas:authenticationSuccess>"),
        403,
    ),
    (200, cas_answer(f"<other>{SUCCESS}</other>"), 502),
    (200, SUCCESS, 502),
    (200, cas_answer(SUCCESS).replace("yale", "evil"), 502),
    (200, "<!DOCTYPE x [<!ENTITY a 'alice'>]>" + cas_answer(SUCCESS), 502),
    (200, cas_answer("<a>" * 100 + "</a>" * 100), 502),
    (200, "no XML", 502),
    (200, "", 502),
    (200, cas_answer(SUCCESS + "<x>" + "y" * 70_000 + "</x>"), 502),
    (500, cas_answer(SUCCESS), 502),
    (302, cas_answer(SUCCESS), 502),
]


async def test_an_answer_that_is_no_success_logs_nobody_in(
    sso_node: NodeMaker, new_browser: BrowserMaker, cas: FakeCas
) -> None:
    async with sso_node(single_sign_on=trusting(cas_providers=(cas.settings(),))) as node:
        browser = new_browser(node)
        for status, text, seen_status in ANSWERS:
            cas.answer = (status, text)
            assert (await browser.opens(redirect())).status == seen_status, text[:200]
        assert await node.log() == []


async def test_a_ticket_is_needed_and_good_for_its_own_login(
    sso_node: NodeMaker, new_browser: BrowserMaker, cas: FakeCas
) -> None:
    async with sso_node(single_sign_on=trusting(cas_providers=(cas.settings(),))) as node:
        browser = new_browser(node)

        async def arrives() -> str:
            at_cas = await browser.opens_once(redirect())
            return (await browser.opens_once(at_cas.headers["Location"])).headers["Location"]

        one, other = await arrives(), await arrives()
        ticket = other.partition("&ticket=")[2]
        assert (await browser.opens(one.partition("&ticket=")[0])).status == 400
        mixed = f"{(await arrives()).partition('&ticket=')[0]}&ticket={ticket}"
        assert (await browser.opens(mixed)).status == 403
