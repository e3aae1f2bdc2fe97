"""The process that reads pages and images of strangers: jobs come in on stdin, one by one.

It has bounds of time and memory, because pages can be written that keep any parser busy for
minutes or fill the memory.
"""

import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from media_repo.previews.encodings import decode_page
from media_repo.previews.page import facts_of
from media_repo.previews.pictures import measure
from media_repo.previews.worker_jobs import (
    JOB_SECONDS,
    LENGTH,
    MAX_MEMORY_BYTES,
    Job,
    JobAnswer,
    ReadPage,
)


def main() -> None:
    """Do jobs until stdin ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A terminal's interrupt is for the server, which then closes stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without a handler of Python's, which a busy parser would keep waiting, it ends the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    decoder = msgspec.msgpack.Decoder(Job)
    while (message := _read(sys.stdin.buffer)) is not None:
        signal.setitimer(signal.ITIMER_REAL, JOB_SECONDS)
        answer = msgspec.msgpack.encode(_done(decoder.decode(message)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(LENGTH.pack(len(answer)) + answer)
        sys.stdout.buffer.flush()


def _done(job: Job) -> JobAnswer:
    if isinstance(job, ReadPage):
        return JobAnswer(page=facts_of(decode_page(job.raw, job.charset)))
    return JobAnswer(picture=measure(Path(job.path)))


def _read(stream: BinaryIO) -> bytes | None:
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(header)
    message = stream.read(size)
    return message if len(message) == size else None


if __name__ == "__main__":
    main()
