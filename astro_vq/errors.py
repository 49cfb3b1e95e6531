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


class AstroVQWarning(UserWarning):
    """Something was done that the user should know about."""
