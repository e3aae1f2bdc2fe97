"""An S3 server of its own, in a child process, over real HTTP."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import obstore
from obstore.store import S3Store

from homeserver.config.sections.media import ObjectStoreSection
from homeserver.config.values import Secret

BUCKET = "media"
_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
import boto3
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
client = boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                      aws_access_key_id="key", aws_secret_access_key="secret")
client.create_bucket(Bucket="media")
print(url, flush=True)
sys.stdin.read()
"""


class S3Server:
    """A running server with one empty bucket."""

    def __init__(self, url: str, process: "subprocess.Popen[str]") -> None:
        self.url = url
        self._process = process

    def section(self, **more: object) -> ObjectStoreSection:
        """Return the settings with which a homeserver uses it."""
        options = {"endpoint": self.url, "region": "us-east-1", "access_key_id": "key"}
        fields = {"url": f"s3://{BUCKET}/homeserver", "options": options, "allow_http": True}
        return ObjectStoreSection(**{**fields, "secret": Secret("secret"), **more})

    def objects(self) -> dict[str, int]:
        """Return the sizes of all objects by key."""
        store = self._store()
        return {each["path"]: each["size"] for batch in store.list() for each in batch}

    def empty(self) -> None:
        """Remove every object."""
        store = self._store()
        for key in self.objects():
            obstore.delete(store, key)

    def stop(self) -> None:
        """End it; requests fail from now on."""
        self._process.kill()
        self._process.wait()

    def _store(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            access_key_id="key",
            secret_access_key="secret",
            client_options={"allow_http": True},
        )


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "the S3 server did not start"
        yield S3Server(url, process)
    finally:
        process.kill()
        process.communicate()
