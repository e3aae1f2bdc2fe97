"""URL previews: what clients show below a link, fetched here so that users are not seen there.

Spec: client-server-api/#get_matrixclientv1mediapreview_url

    fetching       `preview.py` fetches a page or image once for all who ask; `url_rules.py` says
                   which URLs may be, `homeserver/web/page_fetch.py` which addresses
    reading        `worker.py` is a process of its own, because pages can be made that keep a
                   parser busy for minutes: `encodings.py`, `page.py`, `pictures.py`
    oEmbed         `oembed.py`
    keeping        `kept.py`: memory, then a table
"""
