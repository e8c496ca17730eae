"""The one exception class of this package."""


class ParityError(ValueError):
    """Something given (a weight, a file, an argument) is not what it must be; the message is one line that says how."""
