"""Spec: client-server-api/#fallback, client-server-api/#login-fallback"""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.config.sections.registration import Policy, PolicyText, RegistrationSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode, Answer, Captchas, captcha_server

POLICIES = (
    Policy(
        id="privacy",
        version="1.0",
        languages={
            "fr": PolicyText(name="Confidentialité", url="https://example.org/fr"),
            "en": PolicyText(name='Privacy <"&">', url="https://example.org/en?a=1&b=2"),
        },
    ),
    Policy(
        id="terms",
        version="2",
        languages={"de": PolicyText(name="Bedingungen", url="https://example.org/de")},
    ),
)
ALICE = {"username": "alice", "password": "secret"}


def page(stage: str) -> str:
    return f"auth/{stage}/fallback/web"


def may_run(answer: Answer) -> bool:
    """Whether the policy of a page lets its inline script run."""
    script = re.search(r"<script>(.*?)</script>", answer.json, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    return f"script-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]


async def begin(node: AccountNode) -> str:
    return str((await node.call("POST", "register", ALICE)).json["session"])


async def submit(node: AccountNode, stage: str, session: str, **fields: Any) -> Answer:
    return await node.call("POST", page(stage), data={"session": session, **fields})


async def finish(node: AccountNode, session: str) -> Answer:
    """Repeat the request as a client does when the page says that it is done."""
    return await node.call("POST", "register", {**ALICE, "auth": {"session": session}})


@pytest.fixture
async def with_terms(node_with: NodeMaker) -> AsyncIterator[AccountNode]:
    section = RegistrationSection(without_verification=True, terms=POLICIES)
    async with node_with(registration=section) as running:
        yield running


async def test_terms_are_accepted_on_a_page(with_terms: AccountNode) -> None:
    session = await begin(with_terms)
    shown = await with_terms.call("GET", f"{page('m.login.terms')}?session={session}")
    assert shown.status == 200
    assert "https://example.org/en?a=1&amp;b=2" in shown.json
    assert "Privacy &lt;&#34;&amp;&#34;&gt;" in shown.json
    assert "Bedingungen" in shown.json
    assert "Confidentialité" not in shown.json
    assert "script-src" not in shown.headers["Content-Security-Policy"]

    assert (await finish(with_terms, session)).status == 401
    done = await submit(with_terms, "m.login.terms", session)
    assert done.status == 200
    assert "window.onAuthDone" in done.json
    assert may_run(done)
    assert (await finish(with_terms, session)).json["user_id"] == "@alice:localhost"


async def test_a_completed_stage_shows_that_it_is_done(with_terms: AccountNode) -> None:
    session = await begin(with_terms)
    await submit(with_terms, "m.login.terms", session)
    shown = await with_terms.call("GET", f"{page('m.login.terms')}?session={session}")
    assert "window.onAuthDone" in shown.json
    assert "window.onAuthDone" in (await submit(with_terms, "m.login.terms", session)).json


@pytest.fixture
async def captchas() -> AsyncIterator[tuple[Captchas, Any]]:
    async with captcha_server() as running:
        yield running


async def test_a_captcha_is_solved_on_a_page(
    captchas: tuple[Captchas, Any], node_with: NodeMaker
) -> None:
    section = RegistrationSection(captcha=captchas[1])
    async with node_with(registration=section) as node:
        session = await begin(node)
        stage = "m.login.recaptcha"
        shown = await node.call("GET", f"{page(stage)}?session={session}")
        assert 'data-sitekey="public"' in shown.json
        policy = shown.headers["Content-Security-Policy"]
        assert "script-src https://www.recaptcha.net/recaptcha/" in policy
        wrong = await submit(node, stage, session, **{"g-recaptcha-response": "wrong"})
        assert wrong.status == 401
        assert "was not solved" in wrong.json
        right = await submit(node, stage, session, **{"g-recaptcha-response": "right"})
        assert right.status == 200
        assert captchas[0].forms[-1]["remoteip"] == "127.0.0.1"
        assert (await finish(node, session)).status == 200


async def test_a_password_is_asked_for_on_a_page(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    challenge = await node.call("POST", "delete_devices", {"devices": ["A"]}, token)
    session = challenge.json["session"]
    wrong = await submit(node, "m.login.password", session, password="wrong")
    assert (wrong.status, "Invalid password" in wrong.json) == (401, True)
    assert (await submit(node, "m.login.password", session, password="secret")).status == 200
    body = {"auth": {"session": session}}
    assert (await node.call("POST", "delete_devices", body, token)).status == 200


async def test_a_registration_token_is_given_on_a_page(node_with: NodeMaker) -> None:
    async with node_with(registration=RegistrationSection(requires_token=True)) as node:
        await node.layer.registration_tokens.create("abc")
        session = await begin(node)
        stage = "m.login.registration_token"
        assert (await submit(node, stage, session, token="no")).status == 401
        assert (await submit(node, stage, session, token="abc")).status == 200
        assert (await finish(node, session)).status == 200


async def test_the_dummy_stage_has_a_page_too(node: AccountNode) -> None:
    session = await begin(node)
    shown = await node.call("GET", f"{page('m.login.dummy')}?session={session}")
    assert shown.status == 200
    assert (await submit(node, "m.login.dummy", session)).status == 200
    assert (await finish(node, session)).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("stage", "session"),
    [
        ("m.login.terms", "invented"),
        ("m.login.terms", ""),
        ("m.login.password", None),
        ("<script>", None),
    ],
)
async def test_what_cannot_be_done_is_said_on_a_page(
    with_terms: AccountNode, method: str, stage: str, session: str | None
) -> None:
    known = await begin(with_terms) if session is None else session
    answer = await with_terms.call(method, page(stage), params={"session": known})
    assert answer.status == 403
    assert "<script>" not in answer.json
    assert "begin again" in answer.json


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_without_a_session_is_a_bad_request(node: AccountNode, method: str) -> None:
    answer = await node.call(method, page("m.login.terms"))
    assert answer.errcode == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        pytest.param(b"\xff=1", (400, "M_INVALID_PARAM"), id="not ASCII"),
        pytest.param(b"session=%ff", (400, "M_INVALID_PARAM"), id="not UTF-8"),
        pytest.param(b"a=1&" * 100, (400, "M_INVALID_PARAM"), id="too many fields"),
        pytest.param(b"x" * 70_000, (413, "M_TOO_LARGE"), id="too large"),
    ],
)
async def test_what_is_no_form_is_refused(
    node: AccountNode, raw: bytes, refusal: tuple[int, str]
) -> None:
    answer = await node.call("POST", page("m.login.terms"), data=raw)
    assert answer.errcode == refusal


async def test_what_a_page_shows_is_escaped(node_with: NodeMaker) -> None:
    async with node_with(registration=RegistrationSection(requires_token=True)) as node:
        session = await begin(node)
        answer = await node.call(
            "POST",
            page("m.login.registration_token"),
            data={"session": session, "token": '"><script>alert(1)</script>'},
        )
        assert answer.status == 401
        assert "<script>" not in answer.json


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_login_page_runs_its_script_and_talks_to_this_server(
    node: AccountNode, slash: str
) -> None:
    answer = await node.call("GET", f"/_matrix/static/client/login{slash}?device_id=PHONE")
    assert answer.status == 200
    assert "window.matrixLogin.onLogin" in answer.json
    assert may_run(answer)
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
