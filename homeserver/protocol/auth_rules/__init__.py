"""The authorization rules of every room version. Spec: server-server-api/#authorization-rules"""
