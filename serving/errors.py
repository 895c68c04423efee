"""The base of every error that the service raises itself."""


class ServingError(Exception):
    """What the service refuses or cannot do; each subclass asks its caller for another act."""
