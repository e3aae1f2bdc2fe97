"""State resolution: merging the states of a room's forks into one. See `resolve.py`.

Spec: server-server-api/#room-state-resolution
"""
