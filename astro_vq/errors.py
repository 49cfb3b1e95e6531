"""The errors and warnings of the package; catching `AstroVQError` catches all of ours."""


class AstroVQError(Exception):
    """Base class of every error that astro-vq raises on purpose."""


class FormatError(AstroVQError, ValueError):
    """A file or stream is damaged, cut off, or not what it should be."""


class DataError(AstroVQError, ValueError):
    """An image or data set is readable but cannot be used for what was asked."""


class ConfigError(AstroVQError, ValueError):
    """A configuration names an unknown option or an impossible value."""


class ModelMismatchError(AstroVQError):
    """A file or image needs another model than the one that is at hand."""


class BatchError(AstroVQError):
    """Work on many files cannot go on: its processes or its cluster fail."""


class DownloadError(AstroVQError):
    """Something could not be fetched.

    `is_missing` is true when the server answered that it has no such thing, so that another thing
    may still be there; otherwise nothing can be fetched at the moment.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


class VerificationError(AstroVQError):
    """What was written does not give back what it was made from; nothing is left of it."""


class AstroVQWarning(UserWarning):
    """Something was done that the user should know about."""


def describe_error(error: BaseException) -> str:
    """Return one line that says what went wrong, for a person who has not seen the code."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return one_line(f"{where}{error.strerror}")
    message = one_line(str(error)) or type(error).__name__
    if isinstance(error, (AstroVQError, OSError)):
        return message
    return f"unexpected {type(error).__name__}: {message} (run with -vv for the traceback)"


def one_line(text: str) -> str:
    """Return the text with every run of white space, line ends too, as one space."""
    return " ".join(text.split())
