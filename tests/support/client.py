"""A small chat client, so that tests read as conversations: `await alice.sends(room, "hi")`."""

import contextlib
import io
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from yarl import URL

CLIENT = "/_matrix/client/v3"


class Refusal(Exception):
    """The server has answered an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.errcode = body.get("errcode") if isinstance(body, dict) else None


@contextlib.contextmanager
def refused(status: int, errcode: str) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """Expect that the server refuses what the block asks for."""
    with pytest.raises(Refusal) as caught:
        yield caught
    assert (caught.value.status, caught.value.errcode) == (status, errcode), caught.value


async def answer_of(asked: Awaitable[Any]) -> int | tuple[int, str]:
    """Return 200, or with which status and errcode the server refuses."""
    try:
        await asked
    except Refusal as refusal:
        return refusal.status, refusal.errcode
    return 200


def quoted(*segments: str) -> str:
    """Return path segments, each percent-encoded."""
    return "/".join(quote(segment, safe="") for segment in segments)


class Client:
    """Talks to one server, with or without an access token."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._txn_ids = (f"txn{number}" for number in itertools.count())
        self.user_id = ""
        self.device_id = ""
        self.access_token: str | None = None

    # Requests

    async def request(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **query: Any
    ) -> Any:
        """Return the decoded answer; raise Refusal unless the status is 200.

        A `path` without a leading slash is below /_matrix/client/v3. Of a query parameter,
        None leaves it out and a list repeats it; a trailing underscore is not part of its name.
        """
        if not path.startswith("/"):
            path = f"{CLIENT}/{path}"
        headers = {}
        if self.access_token is not None:
            headers["Authorization"] = f"Bearer {self.access_token}"
        data = raw if raw is not None or body is None else json.dumps(body).encode()
        async with self._session.request(
            method,
            # Encoded already: `%2F` must arrive as it is.
            URL(f"{self._url}{path}?{urlencode(_pairs(query))}", encoded=True),
            data=None if data is None else io.BytesIO(data),
            headers=headers,
        ) as response:
            answer = json.loads(await response.read())
            if response.status != 200:
                raise Refusal(response.status, answer)
            return answer

    async def get(self, path: str, **query: Any) -> Any:
        return await self.request("GET", path, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return await self.request("POST", path, {} if body is None else body, **query)

    async def put(self, path: str, body: Any = None, **query: Any) -> Any:
        return await self.request("PUT", path, {} if body is None else body, **query)

    async def delete(self, path: str, **query: Any) -> Any:
        return await self.request("DELETE", path, **query)

    # Accounts

    async def registers(self, name: str, password: str = "wordpass-1") -> None:
        """Make an account and use it from now on."""
        auth = {"type": "m.login.dummy"}
        form = {"username": name, "password": password, "auth": auth}
        self._takes_session(await self.post("register", form))

    async def registers_as_guest(self) -> None:
        """Make a guest account and use it from now on."""
        self._takes_session(await self.post("register", {}, kind="guest"))

    def _takes_session(self, answer: Any) -> None:
        self.user_id = answer["user_id"]
        self.device_id = answer["device_id"]
        self.access_token = answer["access_token"]

    # Rooms and memberships

    async def creates_room(self, **body: Any) -> str:
        """Create a room and return its ID."""
        return (await self.post("createRoom", body))["room_id"]

    async def joins(self, room: str, **body: Any) -> str:
        """Join by room ID or alias and return the room ID."""
        return (await self.post(f"join/{quoted(room)}", body))["room_id"]

    async def knocks(self, room: str, **body: Any) -> str:
        return (await self.post(f"knock/{quoted(room)}", body))["room_id"]

    async def invites(self, room_id: str, other: "Client", **body: Any) -> None:
        await self._acts_on(room_id, "invite", other, body)

    async def kicks(self, room_id: str, other: "Client", **body: Any) -> None:
        await self._acts_on(room_id, "kick", other, body)

    async def bans(self, room_id: str, other: "Client", **body: Any) -> None:
        await self._acts_on(room_id, "ban", other, body)

    async def unbans(self, room_id: str, other: "Client", **body: Any) -> None:
        await self._acts_on(room_id, "unban", other, body)

    async def leaves(self, room_id: str, **body: Any) -> None:
        assert await self.post(f"rooms/{quoted(room_id)}/leave", body) == {}

    async def forgets(self, room_id: str) -> None:
        assert await self.post(f"rooms/{quoted(room_id)}/forget") == {}

    async def joined_rooms(self) -> list[str]:
        return (await self.get("joined_rooms"))["joined_rooms"]

    async def _acts_on(self, room_id: str, action: str, other: "Client", body: Any) -> None:
        path = f"rooms/{quoted(room_id)}/{action}"
        assert await self.post(path, {"user_id": other.user_id, **body}) == {}

    # Events

    async def sends(
        self,
        room_id: str,
        content: str | dict[str, Any],
        event_type: str = "m.room.message",
        *,
        txn_id: str | None = None,
    ) -> str:
        """Send a text or an event and return the event ID."""
        if isinstance(content, str):
            content = {"msgtype": "m.text", "body": content}
        txn_id = txn_id or next(self._txn_ids)
        path = f"rooms/{quoted(room_id)}/send/{quoted(event_type, txn_id)}"
        return (await self.put(path, content))["event_id"]

    async def sets(
        self, room_id: str, event_type: str, content: dict[str, Any], state_key: str = ""
    ) -> str:
        """Set a state event and return the event ID."""
        path = f"rooms/{quoted(room_id)}/state/{quoted(event_type, state_key)}"
        return (await self.put(path, content))["event_id"]

    async def redacts(self, room_id: str, event_id: str, **content: Any) -> str:
        path = f"rooms/{quoted(room_id)}/redact/{quoted(event_id, next(self._txn_ids))}"
        return (await self.put(path, content))["event_id"]

    async def reads_event(self, room_id: str, event_id: str) -> Any:
        return await self.get(f"rooms/{quoted(room_id)}/event/{quoted(event_id)}")

    async def reads_state(
        self, room_id: str, event_type: str, state_key: str = "", **query: Any
    ) -> Any:
        """Return the content of a state event."""
        path = f"rooms/{quoted(room_id)}/state/{quoted(event_type, state_key)}"
        return await self.get(path, **query)

    async def reads_messages(self, room_id: str, direction: str = "b", **query: Any) -> Any:
        return await self.get(f"rooms/{quoted(room_id)}/messages", dir=direction, **query)

    async def reads_context(self, room_id: str, event_id: str, **query: Any) -> Any:
        return await self.get(f"rooms/{quoted(room_id)}/context/{quoted(event_id)}", **query)

    async def reads_members(self, room_id: str, **query: Any) -> dict[str, str]:
        """Return the memberships by user ID."""
        answer = await self.get(f"rooms/{quoted(room_id)}/members", **query)
        return {event["state_key"]: event["content"]["membership"] for event in answer["chunk"]}

    async def syncs(self, since: str | None = None, **query: Any) -> Any:
        """Return the answer of /sync, without waiting unless `timeout` (ms) is given."""
        return await self.get("sync", since=since, **query)


def _pairs(query: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        pairs += [(name.rstrip("_"), _query_text(each)) for each in values]
    return pairs


def _query_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # Filters go as JSON; numbers and booleans look the same there.
    return json.dumps(value)


class ClientMaker:
    """Makes clients of one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    def nobody(self) -> Client:
        """Return a client without an account."""
        return Client(self._session, self._url)

    async def user(self, name: str) -> Client:
        """Return the client of a new account."""
        client = self.nobody()
        await client.registers(name)
        return client

    async def guest(self) -> Client:
        """Return the client of a new guest."""
        client = self.nobody()
        await client.registers_as_guest()
        return client


@contextlib.asynccontextmanager
async def clients_of(url: str) -> AsyncIterator[ClientMaker]:
    """Open connections to a server for any number of clients."""
    async with aiohttp.ClientSession() as session:
        yield ClientMaker(session, url)
