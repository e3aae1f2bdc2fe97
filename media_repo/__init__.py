"""The media repository: what users upload, and what they see of other servers' media.

Bytes are kept once, under their SHA-256, in a *store*; rows of `homeserver/storage/media.py` say
which `mxc://` URI stands for which bytes. For whoever builds on it:

    spool.py      files that are arriving: `await spool.receive(chunks, max_bytes)` → SpooledFile
    store.py      `await store.keep(file, add)` puts a file into the store and runs `add(tx)` in
                  the transaction that makes it stay; `store.read(sha256, start, end)` yields it;
                  `async with store.local_file(sha256) as path` for what needs a real file;
                  `await store.collect()` removes what no row names any more
    places.py     where files are: a folder, or a bucket of S3, GCS, Azure
    library.py    `await library.find(uri, Wanted(…))` → MediaRow that has its bytes, fetched from
                  the other server if need be; raises the specified refusals (not there,
                  quarantined, frozen, not yet uploaded)
    uploads.py    `await uploads.keep(chunks, MediaFacts(content_type, filename, uploader))`
    steps.py      what others plug in: UploadRewriter before content is kept, MediaWatcher after
    headers.py    the headers with which media is served

A table that names bytes has a column `sha256 bytea REFERENCES media_blobs (sha256)` and a trigger
that executes `count_blob_references()`; its rows are added inside `store.keep` and may be deleted
anywhere. Rows of `media` are deleted with `storage.media.delete`.
"""
