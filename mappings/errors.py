"""Why a value cannot be mapped, named by whose value it is."""


class MalformedRequest(ValueError):
    """A V1 request is not of V1's shape; the text says what is wrong and where."""


class ValueOutOfRange(ValueError):
    """A V1 request has V1's shape, but a value that cannot be served."""


class MalformedAnswer(ValueError):
    """An upstream's answer or callback is not of its protocol's shape; the text never quotes it."""
