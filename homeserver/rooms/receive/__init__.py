"""Taking events of other servers into rooms. See `inbox.py` for the way of a PDU."""
