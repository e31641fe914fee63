"""What can go wrong while the servers of a developer's machine are started."""


class DevError(Exception):
    """A server could not be found, started or reached; the message is a sentence that tells the cure."""
