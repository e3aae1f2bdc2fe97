"""What clients and people do to have an e-mail address verified."""

from typing import Any

from tests.support.account_node import AccountNode, Answer
from tests.support.mail import Mailbox, link_of

CONFIRM = "/_matrix/client/unstable/org.homeserver/email/confirm"
ADD = "account/3pid/email/requestToken"


async def ask(node: AccountNode, path: str = ADD, **form: Any) -> Answer:
    wanted = {"client_secret": "s3cret", "email": "alice@example.org", "send_attempt": 1, **form}
    return await node.call("POST", path, wanted)


async def confirm(node: AccountNode, link: dict[str, str]) -> Answer:
    return await node.call("POST", CONFIRM, data=link)


async def verify(node: AccountNode, mailbox: Mailbox, path: str = ADD, **form: Any) -> str:
    """Verify an address, as its owner does, and return the session ID."""
    answer = await ask(node, path, **form)
    assert answer.status == 200, answer
    assert (await confirm(node, link_of(await mailbox.next_text()))).status == 200
    return str(answer.json["sid"])


async def add(
    node: AccountNode, token: str, sid: str, secret: str = "s3cret", password: str = "secret"
) -> Answer:
    form = {"sid": sid, "client_secret": secret}
    first = await node.call("POST", "account/3pid/add", form, token)
    if first.status != 401:
        return first
    auth = {"type": "m.login.password", "password": password, "session": first.json["session"]}
    return await node.call("POST", "account/3pid/add", {**form, "auth": auth}, token)


async def addresses(node: AccountNode, token: str) -> list[str]:
    answer = await node.call("GET", "account/3pid", token=token)
    return [each["address"] for each in answer.json["threepids"]]
