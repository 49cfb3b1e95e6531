"""A way to compress, as it is asked for."""

from typing import NamedTuple


class Choice(NamedTuple):
    """A way to compress.

    Attributes
    ----------
    label : str
        What tables call it.
    fidelity : {'tokens', 'max-error', 'lossless'} or None
        None takes the default of each image.
    max_error : str or None
        Bound, as `astro_vq.compress` takes it.
    factor : float or None
        The bound in units of the pixel noise, when it is given so.
    """

    label: str
    fidelity: str | None = None
    max_error: str | None = None
    factor: float | None = None


def parse_choice(fidelity: str | None, max_error: str | None = None) -> Choice:
    """Return a choice with its label.

    Parameters
    ----------
    fidelity : {'tokens', 'max-error', 'lossless'} or None
        What to keep; None for the default.
    max_error : str, optional
        Bound such as ``0.5`` or ``0.125sigma``.
    """
    if fidelity == "max-error" and max_error is not None:
        text = max_error.strip().lower()
        factor = float(text.removesuffix("sigma")) if text.endswith("sigma") else None
        label = f"max error {text.removesuffix('sigma')}" + (" sigma" if factor else "")
        return Choice(label, fidelity, max_error, factor)
    return Choice(fidelity or "default", fidelity)
