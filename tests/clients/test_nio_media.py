"""matrix-nio, unmodified, uploads and downloads."""

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nio import AsyncClient, DownloadResponse, ResizingMethod, ThumbnailResponse, UploadResponse
from PIL import Image

from tests.support.server import server_of

CONTENT = os.urandom(300_000)


@pytest.fixture
async def nio(database_dsn: str, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    async with server_of(database_dsn, tmp_path) as server:
        client = AsyncClient(server.url, "alice")
        await client.register("alice", "wordpass-1")
        yield client
        await client.close()


async def test_nio_reads_what_it_uploaded(nio: AsyncClient) -> None:
    answer, _ = await nio.upload(
        lambda *_: io.BytesIO(CONTENT),
        content_type="image/png",
        filename="a picture.png",
        filesize=len(CONTENT),
    )
    assert isinstance(answer, UploadResponse), answer
    read = await nio.download(answer.content_uri)
    assert isinstance(read, DownloadResponse), read
    assert read.body == CONTENT
    assert read.content_type == "image/png"
    assert read.filename == "a picture.png"


async def test_nio_shows_a_thumbnail(nio: AsyncClient) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(picture, "PNG")
    content = picture.getvalue()
    answer, _ = await nio.upload(
        lambda *_: io.BytesIO(content), content_type="image/png", filesize=len(content)
    )
    assert isinstance(answer, UploadResponse), answer
    server_name, media_id = answer.content_uri.removeprefix("mxc://").split("/")
    read = await nio.thumbnail(server_name, media_id, 32, 32, ResizingMethod.crop)
    assert isinstance(read, ThumbnailResponse), read
    with Image.open(io.BytesIO(read.body)) as thumbnail:
        assert thumbnail.size == (32, 32)


async def test_nio_uploads_with_encryption(nio: AsyncClient) -> None:
    answer, keys = await nio.upload(
        lambda *_: io.BytesIO(CONTENT), content_type="image/png", encrypt=True
    )
    assert isinstance(answer, UploadResponse), answer
    assert keys is not None
    read = await nio.download(answer.content_uri)
    assert isinstance(read, DownloadResponse)
    assert len(read.body) == len(CONTENT)
    assert read.body != CONTENT
