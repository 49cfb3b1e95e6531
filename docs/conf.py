"""Settings of the documentation: sphinx-build -W -n -b html docs docs/_build/html."""

from typing import Any

from sphinx.application import Sphinx

import astro_vq

project = "astro-vq"
author = "the astro-vq developers"
copyright = author
version = release = astro_vq.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_click",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"astro-vq {release}"
smartquotes = False  # -- is part of options

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Classes of other packages, named in signatures and base classes: there is nothing to link to
# without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|np|torch|astropy|pathlib|collections|typing|click)\..*"),
    (r"py:.*", r"(Exception|ValueError|UserWarning|OSError)"),
]


def show_examples_literally(app: Sphinx, context: Any, lines: list[str]) -> None:  # noqa: ANN401
    """Turn the examples at the end of a command's help into a literal block."""
    if "| Examples:" in lines:
        start = lines.index("| Examples:")
        examples = [line.removeprefix("| ") for line in lines[start + 1 :]]
        lines[start:] = ["Examples::", "", *examples, ""]


def setup(app: Sphinx) -> None:
    """Connect the function above."""
    app.connect("sphinx-click-process-description", show_examples_literally)
