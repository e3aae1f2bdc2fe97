"""A process that makes thumbnails: a line of JSON in for each job, a line and bytes out.

It imports nothing of the server, so that it starts fast and knows nothing worth stealing.
"""

import os
import resource
import sys
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from PIL import Image

from media_repo.thumbnails.job import Answer, Job, Limits, Refused
from media_repo.thumbnails.picture import limit_pixels
from media_repo.thumbnails.render import Thumbnail, render

# Standard streams, a file, its decoder and a pipe or two from ffmpeg.
_MAX_OPEN_FILES: Final = 32


def main() -> None:
    """Work until there are no more jobs: standard input ends."""
    limits = msgspec.json.decode(sys.argv[-1], type=Limits)
    answers = _take_standard_output()
    _restrict(limits)
    limit_pixels(limits.max_pixels)
    # Plugins are imported now, not in the time of the first job.
    Image.preinit()
    decoder = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        _allow_seconds(limits.cpu_seconds)
        _answer(decoder.decode(line), limits, answers)


def _take_standard_output() -> BinaryIO:
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _restrict(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    # Pipes are no files: nothing is ever written but answers.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _allow_seconds(seconds: int) -> None:
    """Have the system end this process when it computes for longer, counted from now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def _answer(job: Job, limits: Limits, answers: BinaryIO) -> None:
    thumbnails: list[Thumbnail] = []
    try:
        thumbnails = render(Path(job.path), job.sizes, limits)
        answer = Answer(made=[made for made, _ in thumbnails])
    except Refused as refused:
        answer = Answer(refusal=refused.refusal)
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        answer = Answer(refusal="too large")
    except Exception:  # noqa: BLE001 - decoders raise anything on broken files, and all mean that
        answer = Answer(refusal="broken")
    answers.write(msgspec.json.encode(answer) + b"\n")
    for _, content in thumbnails:
        answers.write(content)
    answers.flush()


if __name__ == "__main__":
    main()
