"""The one exception class of this package, and the line that its message becomes."""


class ParityError(ValueError):
    """Something given (a weight, a file, an argument) is not what it must be; the message is one line that says how."""


def printable(text: str) -> str:
    """The text on one line, with what is no printable character as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace("\n", " "))


def shortened(text: str, length: int) -> str:
    """The text, without its middle if it is longer; what is wrong stands at the beginning and the cure at the end."""
    if len(text) <= length:
        return text
    head = 2 * length // 3
    return f"{text[:head]} ... {text[len(text) - (length - head - 5) :]}"
