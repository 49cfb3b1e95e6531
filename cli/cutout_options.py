"""The options of every command that looks at cutouts of images that it is given."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from .options import Command

HDF5_ENDINGS = (".h5", ".hdf5", ".hdf")


class CutoutOptions(NamedTuple):
    """Which images, and what is cut out of them.

    Attributes
    ----------
    data : tuple of str
        FITS files, folders of them, and ``FILE`` or ``FILE::DATASET`` of HDF5.
    bands : tuple of str
        Names of the bands that are stacked as channels.
    cutout_size : int
        Side of a cutout in pixels.
    cutouts : int
        How many at most.
    """

    data: tuple[str, ...]
    bands: tuple[str, ...]
    cutout_size: int
    cutouts: int

    @property
    def stacks(self) -> list[str]:
        """Those of `data` that are HDF5."""
        return [name for name in self.data if _is_hdf5(name)]

    @property
    def folders(self) -> list[str]:
        """Those of `data` that are not."""
        return [name for name in self.data if not _is_hdf5(name)]


def cutout_options(
    *, cutouts: int, help_of_data: str, required: bool = False
) -> Callable[[Command], Command]:
    """Give a command the options of `CutoutOptions`, which come as one argument ``images``.

    Parameters
    ----------
    cutouts : int
        How many, where it is not said.
    help_of_data : str
        What ``--data`` is for.
    required : bool
        The command does nothing without ``--data``.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            images = CutoutOptions(**{name: options.pop(name) for name in CutoutOptions._fields})
            return command(*arguments, images=images, **options)

        decorated: Any = gathered
        for option in reversed(
            (
                click.option(
                    "--data",
                    multiple=True,
                    required=required,
                    metavar="PATH",
                    help=f"{help_of_data}; repeatable.",
                ),
                click.option(
                    "--bands",
                    multiple=True,
                    metavar="NAME",
                    help="Bands to stack as channels, as in training.",
                ),
                click.option(
                    "--cutout-size",
                    type=click.IntRange(min=8),
                    default=64,
                    show_default=True,
                    help="Side of the cutouts in pixels.",
                ),
                click.option(
                    "--cutouts",
                    type=click.IntRange(min=1),
                    default=cutouts,
                    show_default=True,
                    help="Cutouts to use at most, spread over all images.",
                ),
            )
        ):
            decorated = option(decorated)
        result: Command = decorated
        return result

    return decorate


def _is_hdf5(name: str) -> bool:
    return "::" in name or name.lower().endswith(HDF5_ENDINGS)
