"""The keys of servers, ours and those of others."""
