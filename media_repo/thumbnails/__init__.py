"""Thumbnails of pictures and videos. Spec: client-server-api/#thumbnails

Whatever looks into files of others runs in processes of its own: `worker.py` and what it imports
(`picture.py`, `render.py`, `encode.py`, `video.py`), which import nothing of the server. A worker
has limits on memory and computing time, may write no file, and is thrown away when it does not
answer (`workers.py`). `thumbnails.py` is for the rest of the server: it finds a thumbnail, or has
it made and keeps it.

Thumbnails are made when somebody asks for them: most pictures that are uploaded are encrypted,
and of the others most are seen in one or two sizes. Who prefers to have them ready sets
`thumbnails.at_upload` (`ReadyMade`), and they are made from one decoding of the picture.
They belong to the bytes of the picture, not to its `mxc://` URI, so that the same picture has
them once, and they go when these bytes go.
"""
