"""A matrix-nio client that encrypts, as a bot's author would write one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nio import (
    AsyncClient,
    AsyncClientConfig,
    InviteMemberEvent,
    JoinResponse,
    KeysQueryResponse,
    KeysUploadResponse,
    LoginResponse,
    MatrixRoom,
    MegolmEvent,
    RegisterResponse,
    RoomCreateResponse,
    RoomMessagesResponse,
    RoomMessageText,
    RoomSendResponse,
    SyncResponse,
)

PASSWORD = "a password of some length"
ENCRYPTION = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}
# A server that does not answer in this time never will.
PATIENCE_SECONDS = 60


class EncryptedClient:
    """One device of a user; `read` has what it could decrypt, `unread` what it could not."""

    def __init__(self, url: str, name: str, store: Path) -> None:
        store.mkdir(parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        self.nio = AsyncClient(url, name, store_path=str(store), config=config)
        self.nio.add_event_callback(self._take_message, RoomMessageText)
        self.nio.add_event_callback(self._take_unread, MegolmEvent)
        self.nio.add_event_callback(self._accept, InviteMemberEvent)
        self.read: list[str] = []
        self.unread: list[str] = []
        self._invites: list[str] = []

    async def registers(self) -> None:
        answer = await self.nio.register(self.nio.user, PASSWORD)
        assert isinstance(answer, RegisterResponse), answer
        await self.settles()

    async def logs_in(self) -> None:
        answer = await self.nio.login(PASSWORD)
        assert isinstance(answer, LoginResponse), answer
        await self.settles()

    async def makes_room(self, *invited: str) -> str:
        answer = await self.nio.room_create(initial_state=[ENCRYPTION], invite=invited)
        assert isinstance(answer, RoomCreateResponse), answer
        await self.settles()
        return answer.room_id

    async def says(self, room_id: str, body: str) -> None:
        """Send an encrypted message to all devices in the room."""
        content = {"msgtype": "m.text", "body": body}
        answer = await self.nio.room_send(
            room_id, "m.room.message", content, ignore_unverified_devices=True
        )
        assert isinstance(answer, RoomSendResponse), answer

    async def settles(self) -> None:
        """Sync until there is nothing more to be done: keys, invites."""
        while True:
            answer = await self.nio.sync(timeout=0)
            assert isinstance(answer, SyncResponse), answer
            invites, self._invites = self._invites, []
            for room_id in invites:
                joined = await self.nio.join(room_id)
                assert isinstance(joined, JoinResponse), joined
            if not (await self._keeps_keys() or invites):
                return

    async def waits_for(self, body: str) -> None:
        """Sync until a message could be read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while body not in self.read:
                answer = await self.nio.sync(timeout=10_000)
                assert isinstance(answer, SyncResponse), answer
                await self._keeps_keys()

    async def reads_history(self, room_id: str) -> list[str]:
        """Return the messages that /messages has and that can be read, oldest first."""
        answer = await self.nio.room_messages(room_id, limit=100)
        assert isinstance(answer, RoomMessagesResponse), answer
        found = [each.body for each in answer.chunk if isinstance(each, RoomMessageText)]
        return found[::-1]

    def shares_with(self, room_id: str) -> set[tuple[str, str]]:
        """Return the devices that have the key of what is said now."""
        assert self.nio.olm is not None
        return set(self.nio.olm.outbound_group_sessions[room_id].users_shared_with)

    async def _keeps_keys(self) -> bool:
        """Do what the last sync asks for; return whether that was anything."""
        has_done = False
        if self.nio.should_upload_keys:
            uploaded = await self.nio.keys_upload()
            assert isinstance(uploaded, KeysUploadResponse), uploaded
            has_done = True
        if self.nio.should_query_keys:
            queried = await self.nio.keys_query()
            assert isinstance(queried, KeysQueryResponse), queried
            has_done = True
        await self.nio.send_to_device_messages()
        return has_done

    async def _take_message(self, _room: MatrixRoom, event: RoomMessageText) -> None:
        self.read.append(event.body)

    async def _take_unread(self, _room: MatrixRoom, event: MegolmEvent) -> None:
        self.unread.append(event.event_id)

    async def _accept(self, room: MatrixRoom, event: InviteMemberEvent) -> None:
        if event.state_key == self.nio.user_id and event.membership == "invite":
            self._invites.append(room.room_id)


class ClientMaker:
    """Makes clients of one server, each with a key store of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self.made: list[EncryptedClient] = []

    def make(self, name: str) -> EncryptedClient:
        client = EncryptedClient(self._url, name, self._folder / f"store{len(self.made)}")
        self.made.append(client)
        return client

    async def registered(self, name: str) -> EncryptedClient:
        client = self.make(name)
        await client.registers()
        return client


@asynccontextmanager
async def encrypted_clients(url: str, folder: Path) -> AsyncIterator[ClientMaker]:
    """Close every client in the end."""
    maker = ClientMaker(url, folder)
    try:
        yield maker
    finally:
        for client in maker.made:
            await client.nio.close()
