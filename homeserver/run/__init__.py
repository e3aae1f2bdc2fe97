"""The composition root, the command line and the life of the process."""
