"""Mails about unread messages. Spec: client-server-api/#post_matrixclientv3pushersset"""

import re
from urllib.parse import urlsplit

import pytest

from homeserver.config.sections.push import PushSection
from homeserver.config.sections.third_party_ids import ThirdPartyIdsSection
from homeserver.storage import third_party_ids
from homeserver.storage.third_party_ids import AddressRow
from tests.support.client import answer_of
from tests.support.mail import mail_server, text_of
from tests.support.push_gateway import OUTGOING
from tests.support.server import server_of

ADDRESS = "bob@example.org"
PUSHER = {
    "kind": "email",
    "app_id": "m.email",
    "pushkey": ADDRESS,
    "app_display_name": "Email",
    "device_display_name": ADDRESS,
    "lang": "en",
    "data": {"brand": "App"},
}
DELAY_MS = 500


@pytest.fixture
async def mailbox():
    async with mail_server() as box:
        yield box


@pytest.fixture
async def server(database_dsn, tmp_path, mailbox):
    """A server that mails soon."""
    sections = {
        "email": mailbox.section(),
        "push": PushSection(email_delay_ms=DELAY_MS, email_interval_ms=DELAY_MS),
        "third_party_ids": ThirdPartyIdsSection(),
        "outgoing_http": OUTGOING,
    }
    async with server_of(database_dsn, tmp_path, **sections) as running:
        yield running


@pytest.fixture
async def mailed(server, bob):
    """Bob has an address and wants mail."""
    await has_address(server, bob)
    await bob.post("pushers/set", PUSHER)


async def has_address(server, client):
    async with server.base.database.transaction("test") as tx:
        await third_party_ids.insert(tx, client.user_id, AddressRow("email", ADDRESS, 1, 1))


async def reads(client, room, event):
    await client.post(f"rooms/{room}/receipt/m.read/{event}")


async def test_unread_messages_come_in_one_mail(alice, bob, room, mailbox, mailed):
    for text in ("one", "two <b>"):
        await alice.sends(room, text)
    await alice.sends(room, {"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted")
    mail = await mailbox.next()
    text = text_of(mail)
    assert mail["Subject"] == "3 unread messages on hs.example"
    assert mail["To"] == ADDRESS
    for part in ("Mission Control", "alice: one", "alice: two <b>", "(an encrypted message)"):
        assert part in text
    html = mail.get_body(("html",)).get_content()
    assert "two &lt;b&gt;" in html


async def test_what_is_read_in_time_is_not_mailed(alice, bob, room, mailbox, mailed):
    event = await alice.sends(room, "read")
    await reads(bob, room, event)
    await alice.sends(room, "unread")
    text = await mailbox.next_text()
    assert "unread" in text
    assert "alice: read\n" not in text


async def test_the_next_mail_tells_of_what_has_come_since(alice, room, mailbox, mailed):
    await alice.sends(room, "first")
    await mailbox.next()
    await alice.sends(room, "second")
    text = await mailbox.next_text()
    assert "second" in text
    assert "first" not in text


async def test_one_click_ends_the_mails(alice, bob, clients, room, mailbox, mailed):
    await alice.sends(room, "hello")
    mail = await mailbox.next()
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = urlsplit(re.fullmatch(r"<(.+)>", mail["List-Unsubscribe"])[1])
    assert link.geturl() in text_of(mail)
    page = await page_of(clients, "GET", link)
    assert ADDRESS in page
    assert len((await bob.get("pushers"))["pushers"]) == 1
    assert ADDRESS not in await page_of(clients, "POST", link)
    assert (await bob.get("pushers"))["pushers"] == []
    assert ADDRESS not in await page_of(clients, "GET", link)


async def page_of(clients, method, link):
    client = clients.nobody()
    async with client._session.request(
        method, f"{client._url}{link.path}?{link.query}", data={"List-Unsubscribe": "One-Click"}
    ) as response:
        assert response.status == 200
        return await response.text()


async def test_an_address_that_was_removed_gets_nothing(server, alice, bob, room, mailbox, mailed):
    async with server.base.database.transaction("test") as tx:
        await third_party_ids.delete_all(tx, bob.user_id)
    await alice.sends(room, "hello")
    await has_address(server, alice)
    await alice.post("pushers/set", PUSHER)
    await bob.sends(room, "answer")
    assert "bob: answer" in await mailbox.next_text()
    assert mailbox.is_empty


async def test_mail_goes_to_verified_addresses_of_the_account_only(server, alice, bob):
    await has_address(server, alice)
    refusals = [
        PUSHER,
        {**PUSHER, "pushkey": "other@example.org"},
        {**PUSHER, "pushkey": "no address"},
        {**PUSHER, "app_id": "org.example.app"},
    ]
    answers = [await answer_of(bob.post("pushers/set", each)) for each in refusals]
    assert answers == [(400, "M_INVALID_PARAM")] * 4
    assert await answer_of(alice.post("pushers/set", {**PUSHER, "pushkey": ADDRESS.upper()})) == 200
