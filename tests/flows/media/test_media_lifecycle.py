"""How media ends: with its message, by age, with all that was made of it."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from homeserver.config.sections.media import MediaSection
from homeserver.config.sections.media_retention import MediaRetentionSection
from homeserver.run.compose import RunningServer
from homeserver.run.media_lifecycle import start_retention
from tests.support.account_data import sets_account_data
from tests.support.client import Client, clients_of, quoted
from tests.support.media import asks, downloads, path_of, uploads
from tests.support.media_lifecycle import is_gone, is_there, looked_after, shows
from tests.support.object_store import S3Server, s3_server
from tests.support.server import server_of

UNUSED = MediaRetentionSection(local_unused_days=30)


@pytest.fixture(scope="module")
def s3_process() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
async def room(alice: Client) -> str:
    return await alice.creates_room(preset="public_chat")


async def test_media_of_a_redacted_message_goes(alice: Client, room: str) -> None:
    image, thumbnail = [await uploads(alice, content) for content in (b"image", b"thumbnail")]
    event_id = await shows(alice, room, image, thumbnail_url=thumbnail)
    await looked_after(alice, room)
    assert await is_there(alice, image)
    await alice.redacts(room, event_id)
    await is_gone(alice, image)
    await is_gone(alice, thumbnail)


@pytest.mark.parametrize(
    "content",
    [
        {"msgtype": "m.file", "body": "f", "file": {"url": "URI"}},
        {"msgtype": "m.image", "body": "f", "info": {"thumbnail_file": {"url": "URI"}}},
        {"body": "* f", "m.new_content": {"msgtype": "m.image", "body": "f", "url": "URI"}},
    ],
    ids=["encrypted file", "encrypted thumbnail", "edit"],
)
async def test_a_file_is_found_wherever_it_is_attached(
    alice: Client, room: str, content: dict[str, Any]
) -> None:
    uri = await uploads(alice, b"content")
    await alice.redacts(room, await alice.sends(room, _with_uri(content, uri)))
    await is_gone(alice, uri)


def _with_uri(value: Any, uri: str) -> Any:
    if isinstance(value, dict):
        return {name: _with_uri(each, uri) for name, each in value.items()}
    return uri if value == "URI" else value


async def test_a_moderator_s_redaction_counts_too(alice: Client, bob: Client, room: str) -> None:
    await bob.joins(room)
    uri = await uploads(bob, b"spam")
    await alice.redacts(room, await shows(bob, room, uri))
    await is_gone(alice, uri)


async def test_media_that_another_event_names_stays_until_that_is_redacted(
    alice: Client, bob: Client, room: str
) -> None:
    await bob.joins(room)
    uri = await uploads(alice, b"shared")
    first = await shows(alice, room, uri)
    html = {"msgtype": "m.text", "body": "x", "formatted_body": f'<img src="{uri}">'}
    quote = await bob.sends(room, html)
    second = await shows(alice, room, uri)
    await alice.redacts(room, first)
    await looked_after(alice, room)
    assert await is_there(alice, uri)
    await bob.redacts(room, quote)
    await alice.redacts(room, second)
    await is_gone(alice, uri)


async def test_nobody_has_somebody_else_s_media_removed(
    alice: Client, bob: Client, room: str
) -> None:
    await bob.joins(room)
    uri = await uploads(alice, b"alice's")
    await bob.redacts(room, await shows(bob, room, uri))
    await looked_after(bob, room)
    assert await is_there(alice, uri)


async def test_what_is_only_mentioned_does_not_go(alice: Client, room: str) -> None:
    uri = await uploads(alice, b"emoji")
    html = {"msgtype": "m.text", "body": "x", "formatted_body": f'<img src="{uri}">'}
    await alice.redacts(room, await alice.sends(room, html))
    await looked_after(alice, room)
    assert await is_there(alice, uri)


async def test_an_avatar_and_a_pack_of_images_stay(alice: Client, room: str) -> None:
    avatar, sticker = [await uploads(alice, content) for content in (b"avatar", b"sticker")]
    await alice.put(f"profile/{quoted(alice.user_id)}/avatar_url", {"avatar_url": avatar})
    pack = {"images": {"a": {"url": sticker}}}
    await sets_account_data(alice, "im.ponies.user_emotes", pack)
    for uri in (avatar, sticker):
        await alice.redacts(room, await shows(alice, room, uri))
    await looked_after(alice, room)
    assert await is_there(alice, avatar)
    assert await is_there(alice, sticker)


@pytest.mark.parametrize("uri", ["mxc://", "mxc://x", "mxc:///a", "mxc://hs.example/a/b", 5, None])
async def test_wild_uris_do_no_harm(alice: Client, room: str, uri: Any) -> None:
    event_id = await alice.sends(room, {"msgtype": "m.image", "url": uri, "info": 7, "file": []})
    await alice.redacts(room, event_id)
    await looked_after(alice, room)


async def test_media_stays_where_the_configuration_says_so(
    database_dsn: str, tmp_path: Path
) -> None:
    media = MediaSection(retention=MediaRetentionSection(remove_redacted=False))
    async with (
        server_of(database_dsn, tmp_path, media=media) as server,
        clients_of(server.url) as users,
    ):
        alice = await users.user("alice")
        room = await alice.creates_room()
        uri = await uploads(alice, b"content")
        await alice.redacts(room, await shows(alice, room, uri))
        # Handled when what it waits for has been taken.
        await _until_taken(server)
        assert await is_there(alice, uri)


async def _until_taken(server: RunningServer) -> None:
    for _ in range(500):
        async with server.base.database.connection() as connection:
            waiting = await connection.fetchval("SELECT count(*) FROM media_redactions")
            known = await connection.fetchval("SELECT count(*) FROM media_references")
        if not waiting and not known:
            return
    raise AssertionError("the follower does not follow")


async def _let_pass(server: RunningServer, days: int, *uris: str) -> None:
    async with server.base.database.connection() as connection:
        await connection.execute(
            """
            UPDATE media SET last_access_ts = last_access_ts - $1, created_ts = created_ts - $1
            WHERE 'mxc://' || origin || '/' || media_id = ANY ($2::text[])
            """,
            days * 24 * 60 * 60 * 1000,
            list(uris),
        )


@pytest.fixture
async def retaining(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server_of(database_dsn, tmp_path, media=MediaSection(retention=UNUSED)) as server:
        yield server


async def test_unused_media_goes_and_what_is_in_use_stays(retaining: RunningServer) -> None:
    async with clients_of(retaining.url) as users:
        alice = await users.user("alice")
        old, new, avatar = [await uploads(alice, content) for content in (b"o", b"n", b"a")]
        await alice.put(f"profile/{quoted(alice.user_id)}/avatar_url", {"avatar_url": avatar})
        await _let_pass(retaining, 31, old, avatar)
        await _let_pass(retaining, 29, new)
        await start_retention(retaining.base).remove_old()
        assert [await is_there(alice, uri) for uri in (old, new, avatar)] == [False, True, True]


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 50).save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_bucket_is_emptied_thumbnails_too(
    database_dsn: str, tmp_path: Path, s3_process: S3Server
) -> None:
    s3_process.empty()
    media = MediaSection(object_store=s3_process.section(), retention=UNUSED)
    async with (
        server_of(database_dsn, tmp_path, media=media) as server,
        clients_of(server.url) as users,
    ):
        alice = await users.user("alice")
        uri = await uploads(alice, picture(), "image/png")
        path = f"/_matrix/client/v1/media/thumbnail/{path_of(uri)}"
        shown = await asks(alice, "GET", path, width=32, height=32, method="crop")
        assert shown.status == 200
        assert len(s3_process.objects()) == 2
        await _let_pass(server, 31, uri)
        await start_retention(server.base).remove_old()
        assert (await downloads(alice, uri)).refusal == (404, "M_NOT_FOUND")
        # First the picture, which takes the rows of its thumbnails with it; then their bytes.
        for _ in range(2):
            async with server.base.database.connection() as connection:
                await connection.execute("UPDATE media_blobs SET touched_ts = 0")
            await server.parts.media.store.collect()
        assert s3_process.objects() == {}


async def test_the_same_bytes_stay_for_who_has_uploaded_them_too(
    retaining: RunningServer,
) -> None:
    async with clients_of(retaining.url) as users:
        alice, bob = await users.user("alice"), await users.user("bob")
        hers, his = [await uploads(each, b"the same") for each in (alice, bob)]
        await _let_pass(retaining, 31, hers)
        await start_retention(retaining.base).remove_old()
        async with retaining.base.database.connection() as connection:
            await connection.execute("UPDATE media_blobs SET touched_ts = 0")
        await retaining.parts.media.store.collect()
        assert not await is_there(alice, hers)
        assert (await downloads(alice, his)).body == b"the same"
