"""Push rules: which events a user wants to be told of, and how.

Spec: client-server-api/#push-rules
"""
