"""A Matrix homeserver: protocol, storage, rooms, services and the program that runs them."""
