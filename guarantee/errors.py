"""The base of every error that the guarantee raises."""


class GuaranteeError(Exception):
    """What the guarantee refuses or cannot do; each subclass asks its caller for another act."""
