"""The one exception that the command line turns into a clear line and exit status 2."""


class UserError(ValueError):
    """A mistake that the user can mend; the message names the file, line or flag and the remedy."""
