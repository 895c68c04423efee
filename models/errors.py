"""The base of every error that the models raise."""


class ModelsError(Exception):
    """What a model refuses or cannot do; each subclass asks its caller for another act."""
