"""The entry point: a group of commands that are imported when they are first needed.

To add a command: write ``cli/<name>.py`` with a click command, and add one entry to `COMMANDS`.
Modules of commands import neither torch nor the parts of the library that need it when they are
loaded, so that ``astro-vq --help`` stays quick; they reach the library through the lazy names of
`astro_vq`.
"""

import errno
import importlib
from typing import Any

import click

import astro_vq
from astro_vq.errors import AstroVQError

from .console import Console

COMMANDS: dict[str, str] = {
    "demo": "astro_vq.cli.demo:demo",
    "train": "astro_vq.cli.train:train",
    "compress": "astro_vq.cli.compress:compress",
    "decompress": "astro_vq.cli.decompress:decompress",
    "info": "astro_vq.cli.info:info",
    "verify": "astro_vq.cli.verify:verify",
    "report": "astro_vq.cli.report:report",
    "codebook": "astro_vq.cli.codebook:codebook",
    "evaluate": "astro_vq.cli.evaluate:evaluate",
    "tokenize": "astro_vq.cli.tokenize:tokenize",
    "sample": "astro_vq.cli.sample:sample",
    "recipe": "astro_vq.cli.recipe:recipe",
}
"""Name of each command and where it is: "module:attribute", in the order of the help."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and turns errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run a command; our errors and the system's end it with one line and status 1."""
        try:
            return super().invoke(ctx)
        except (AstroVQError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of stdout went away; click ends quietly
            ctx.ensure_object(Console).error(error)
            ctx.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has its own help: astro-vq compress --help",
)
@click.version_option(astro_vq.__version__, prog_name="astro-vq")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Compress sky images (FITS) within a bound that you choose, and get them back.

    Results go to stdout, progress and notes to stderr. The exit status is 0 when all went well,
    1 when something failed or was refused, and 2 for wrong usage.
    """
    ctx.obj = Console()


if __name__ == "__main__":
    main()
