"""The exception of the data pipelines: a file or a text that the user can mend."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file, row or flag and the remedy."""
