"""Messages to devices, and further devices of an account."""

from itertools import count
from typing import Any

from tests.support.client import Client, ClientMaker, quoted

_numbers = count()


async def sends_to_device(
    client: Client,
    messages: dict[str, dict[str, Any]],
    event_type: str = "m.dummy",
    *,
    txn_id: str | None = None,
) -> None:
    """Send messages by user ID and device ID."""
    txn_id = txn_id or f"to-device-{next(_numbers)}"
    path = f"sendToDevice/{quoted(event_type, txn_id)}"
    assert await client.put(path, {"messages": messages}) == {}


async def logs_in_again(clients: ClientMaker, client: Client, device_id: str) -> Client:
    """Return another device of the client's account."""
    other = clients.nobody()
    localpart = client.user_id[1:].split(":")[0]
    answer = await other.post(
        "login",
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": localpart},
            "password": "wordpass-1",
            "device_id": device_id,
        },
    )
    other.user_id, other.device_id = answer["user_id"], answer["device_id"]
    other.access_token = answer["access_token"]
    return other


def told(answer: Any) -> list[Any]:
    """Return the contents of the messages to the device in an answer of /sync."""
    return [event["content"] for event in events_told(answer)]


def events_told(answer: Any) -> list[Any]:
    """Return the messages to the device in an answer of /sync."""
    events: list[Any] = answer.get("to_device", {"events": []})["events"]
    return events
