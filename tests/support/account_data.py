"""What a client does with account data, and what it finds of it in answers of /sync."""

from typing import Any

from tests.support.client import Client, quoted

MSC3391 = "/_matrix/client/unstable/org.matrix.msc3391"


def _path(client: Client, event_type: str, room_id: str | None) -> str:
    room = "" if room_id is None else f"rooms/{quoted(room_id)}/"
    return f"user/{quoted(client.user_id)}/{room}account_data/{quoted(event_type)}"


async def sets_account_data(
    client: Client, event_type: str, content: dict[str, Any], room_id: str | None = None
) -> None:
    assert await client.put(_path(client, event_type, room_id), content) == {}


async def reads_account_data(client: Client, event_type: str, room_id: str | None = None) -> Any:
    return await client.get(_path(client, event_type, room_id))


async def deletes_account_data(client: Client, event_type: str, room_id: str | None = None) -> None:
    assert await client.delete(f"{MSC3391}/{_path(client, event_type, room_id)}") == {}


async def ignores(client: Client, *others: Client) -> None:
    """Ignore some users, and nobody else."""
    content = {"ignored_users": {other.user_id: {} for other in others}}
    await sets_account_data(client, "m.ignored_user_list", content)


def global_account_data(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the contents by type of what an answer tells, none of them twice."""
    return _by_type(answer.get("account_data", {"events": []}))


def room_account_data(
    answer: dict[str, Any], room_id: str, section: str = "join"
) -> dict[str, Any]:
    """Return the same of a room; empty when the room is not in the answer."""
    room = answer.get("rooms", {}).get(section, {}).get(room_id)
    return {} if room is None else _by_type(room["account_data"])


def _by_type(block: dict[str, Any]) -> dict[str, Any]:
    assert all(event.keys() == {"type", "content"} for event in block["events"])
    found = {event["type"]: event["content"] for event in block["events"]}
    assert len(found) == len(block["events"]), "the same type twice"
    return found
