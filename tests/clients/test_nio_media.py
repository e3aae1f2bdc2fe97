"""matrix-nio, unmodified, uploads and downloads."""

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nio import AsyncClient, DownloadResponse, UploadResponse

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
