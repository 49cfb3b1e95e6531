"""What the pages of a report are called."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def page_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for the page of each file: its own, made unique by its folders."""
    names = [path.name for path in paths]
    times = Counter(names)
    result = []
    for path, name in zip(paths, names, strict=True):
        if times[name] > 1:
            name = "__".join([*path.parent.parts[-2:], path.name]).replace("/", "")
        result.append(name)
    counts: dict[str, int] = {}
    for index, name in enumerate(result):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1:
            result[index] = f"{name}-{counts[name]}"
    return result
