"""Sending mail, whatever the mail server does."""

import ssl
from pathlib import Path

import pytest

from homeserver.config.values import Secret
from homeserver.services.mail import LIFETIME_MS, Mail, Message
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode
from tests.support.clock import FakeClock
from tests.support.email_addresses import ask
from tests.support.mail import Mailbox, link_of, mail_server, text_of

CERTIFICATES = Path(__file__).parents[2] / "unit" / "web"
HELLO = Message(to="bob@example.org", subject="Hello", text="Good morning", html="<p>Good</p>")


def mail_of(node: AccountNode) -> Mail:
    return node.layer.addresses.mail


async def put(node: AccountNode, message: Message = HELLO) -> None:
    """Put a mail into the queue without sending it."""
    async with node.base.database.connection() as connection:
        await mail_of(node).put(connection, message)


async def waiting(node: AccountNode) -> int:
    async with node.base.database.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM mail_queue")
    return count


async def test_a_mail_has_both_parts_and_its_headers(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    async with node_with(email=mailbox.section()) as node:
        message = Message(
            to="bob@example.org",
            subject="Größe",
            text="Good morning",
            html="<p>Good</p>",
            headers={"List-Unsubscribe": "<https://example.org/>"},
        )
        await mail_of(node).send(message)
        mail = await mailbox.next()
        assert (mail["From"], mail["To"]) == ("Matrix <matrix@example.org>", "bob@example.org")
        assert (mail["Subject"], mail["Auto-Submitted"]) == ("Größe", "auto-generated")
        assert mail["List-Unsubscribe"] == "<https://example.org/>"
        assert mail["Message-ID"].endswith("@example.org>")
        assert text_of(mail).strip() == "Good morning"
        html = mail.get_body(("html",))
        assert html is not None
        assert "<p>Good</p>" in html.get_content()


async def test_a_mail_that_is_refused_for_now_is_sent_again(
    node_with: NodeMaker, mailbox: Mailbox, clock: FakeClock
) -> None:
    mailbox.refusals = ["451 later", "421 later"]
    async with node_with(email=mailbox.section()) as node:
        mail = mail_of(node)
        await put(node)
        await mail.deliver()
        assert (mailbox.attempts, await waiting(node)) == (1, 1)
        await mail.deliver()
        assert mailbox.attempts == 1
        clock.tick(5)
        await mail.deliver()
        clock.tick(30)
        await mail.deliver()
        assert text_of(await mailbox.next()).strip() == "Good morning"
        assert (mailbox.attempts, await waiting(node)) == (3, 0)


async def test_a_mail_that_is_refused_for_good_is_forgotten(
    node_with: NodeMaker, mailbox: Mailbox
) -> None:
    mailbox.refusals = ["554 no"]
    async with node_with(email=mailbox.section()) as node:
        await put(node)
        await mail_of(node).deliver()
        assert (mailbox.attempts, await waiting(node)) == (1, 0)


async def test_mail_waits_for_a_mail_server_that_is_away_but_not_for_ever(
    node_with: NodeMaker, clock: FakeClock
) -> None:
    async with mail_server() as box:
        section = box.section()
    async with node_with(email=section) as node:
        mail = mail_of(node)
        await put(node)
        await mail.deliver()
        assert await waiting(node) == 1
        clock.tick(LIFETIME_MS / 1000 + 1)
        await mail.deliver()
        assert await waiting(node) == 0


async def test_another_node_sends_what_a_node_has_left_behind(
    node_with: NodeMaker, mailbox: Mailbox, clock: FakeClock
) -> None:
    async with (
        node_with(email=mailbox.section()) as node,
        node_with(email=mailbox.section()) as other,
    ):
        async with node.base.database.connection() as connection:
            await mail_of(node).put(connection, HELLO)
            # As a node that dies in the middle leaves it.
            await connection.execute("UPDATE mail_queue SET next_ts = $1", clock.now_ms() + 300_000)
        await mail_of(other).deliver()
        assert mailbox.attempts == 0
        clock.tick(300)
        await mail_of(other).deliver()
        await mailbox.next()
        assert await waiting(node) == 0


async def test_the_mail_server_is_logged_in_to(node_with: NodeMaker) -> None:
    async with mail_server(wants_login=True) as box:
        right = box.section(username="matrix", password=Secret("secret"))
        async with node_with(email=right) as node:
            await mail_of(node).send(HELLO)
            await box.next()


async def test_a_wrong_login_is_tried_again_after_somebody_has_mended_it(
    node_with: NodeMaker, clock: FakeClock
) -> None:
    async with mail_server(wants_login=True) as box:
        wrong = box.section(username="matrix", password=Secret("wrong"))
        async with node_with(email=wrong) as node:
            await put(node)
            await mail_of(node).deliver()
            assert await waiting(node) == 1
        clock.tick(5)
        right = box.section(username="matrix", password=Secret("secret"))
        async with node_with(email=right) as node:
            await mail_of(node).deliver()
            await box.next()


async def test_mail_goes_over_tls_to_a_server_that_can_show_who_it_is(
    node_with: NodeMaker, clock: FakeClock
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "tls_certificate.pem", CERTIFICATES / "tls_key.pem")
    async with mail_server(tls=context) as box:
        async with node_with(email=box.section(security="starttls")) as node:
            await put(node)
            await mail_of(node).deliver()
            assert (box.attempts, await waiting(node)) == (0, 1)
        clock.tick(5)
        trusted = (CERTIFICATES / "tls_certificate.pem",)
        async with node_with(email=box.section(security="starttls", ca_files=trusted)) as node:
            await mail_of(node).deliver()
            await box.next()


async def test_an_operator_replaces_templates(
    node_with: NodeMaker, mailbox: Mailbox, tmp_path: Path
) -> None:
    (tmp_path / "mail_validation.txt").write_text(
        "Subject: Hallo {{ server_name }}\n\n{{ link }}\n"
    )
    async with node_with(email=mailbox.section(templates_dir=tmp_path)) as node:
        await ask(node)
        mail = await mailbox.next()
        assert mail["Subject"] == "Hallo localhost"
        assert "token" in link_of(text_of(mail))


@pytest.mark.parametrize("subject", ["a\nBcc: x@example.org", "a\r\nb"])
async def test_a_header_cannot_be_smuggled_in(
    node_with: NodeMaker, mailbox: Mailbox, subject: str
) -> None:
    async with node_with(email=mailbox.section()) as node:
        await put(node, Message(to="bob@example.org", subject=subject, text="x"))
        await mail_of(node).deliver()
        assert (mailbox.attempts, await waiting(node)) == (0, 0)
