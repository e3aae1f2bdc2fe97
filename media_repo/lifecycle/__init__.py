"""How media ends: with the message that it was attached to, by age, or by an operator's word.

    mentions.py     which media an event names
    references.py   a follower that keeps the references of events and removes what redacted
                    events leave over
    retention.py    removal by age and last access
    transfer.py     checking all bytes of a store, and carrying them to another

Only rows are removed here; the bytes go when nothing names them, see `media_repo/store.py`.
"""
