"""A section of a configuration: a frozen dataclass whose fields are checked by their types."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar, Union

from astro_vq.errors import ConfigError

_Section = TypeVar("_Section", bound="Section")


@dataclass(frozen=True)
class Section:
    """A section whose fields are checked by their types, then by `_check`."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, hint = getattr(self, f.name), hints[f.name]
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, f.name, value)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if whole and _holds_float(hint) and not _matches(value, hint):
                value = float(value)
                object.__setattr__(self, f.name, value)
            if not _matches(value, hint):
                raise ConfigError(f"{f.name} must be {_describe(hint)}, got {value!r}")
        self._check()

    def _check(self) -> None:
        """Check the ranges of single fields and what they ask of each other."""

    def _need(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ConfigError(f"{name} must be {what}, got {getattr(self, name)!r}")

    def _need_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._need(value is None or value > 0, name, "positive")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a section from plain values; a name that is not a field is refused."""
        return build_section(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON and TOML can hold (tuples as lists)."""
        return {f.name: plain_value(getattr(self, f.name)) for f in dataclasses.fields(self)}


def plain_value(value: object) -> Any:  # noqa: ANN401
    """Return the value of a field as JSON and TOML can hold it."""
    if isinstance(value, Section):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


def build_section(cls: type[_Section], values: Mapping[str, Any], prefix: str) -> _Section:
    """Build a section from plain values; `prefix` stands before names in messages."""
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known are {known}"
            raise ConfigError(f"unknown option {prefix}{name}{hint}")
    try:
        return cls(**values)
    except ConfigError as err:
        raise ConfigError(f"{prefix}{err}") from err


def _matches(value: object, hint: Any) -> bool:  # noqa: ANN401
    """Say whether a value is of a field's type (no casts: an int is no bool)."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in typing.get_args(hint))
    if origin in (Union, types.UnionType):
        return any(_matches(value, part) for part in typing.get_args(hint))
    if origin is tuple:
        item = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_matches(v, item) for v in value)
    if hint is float:
        return isinstance(value, float) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:  # noqa: ANN401
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in typing.get_args(hint))
    if origin in (Union, types.UnionType):
        parts = typing.get_args(hint)
        return " or ".join("unset" if p is type(None) else _describe(p) for p in parts)
    if origin is tuple:
        return f"a list, each {_describe(typing.get_args(hint)[0])}"
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    return names.get(hint, str(hint))


def _holds_float(hint: Any) -> bool:  # noqa: ANN401
    return hint is float or float in typing.get_args(hint)
