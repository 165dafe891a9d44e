"""Settings in TOML: there and back, laid over one another."""

import dataclasses
import difflib
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from sspnerf.errors import UsageError

Settings = TypeVar("Settings")


def to_toml(settings: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the dataclasses above
    """Turn settings into plain tables; a None is left out, as TOML has no word for it."""
    table = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            value = to_toml(value)
        if value is not None:
            table[item.name] = list(value) if isinstance(value, tuple) else value
    return table


def from_toml(base: Settings, table: dict[str, Any], *, where: str = "") -> Settings:
    """Lay a table of settings over others.

    Args:
        base: Settings that hold where the table says nothing.
        table: What a TOML file says, nested like the dataclasses.
        where: Name of the enclosing table, for messages.

    Raises:
        UsageError: If a key is unknown (the nearest known one is named) or a value does not fit.
    """
    kinds = typing.get_type_hints(type(base))
    changes = {}
    for key, value in table.items():
        name = f"{where}{key}"
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)
            raise UsageError(f"unknown setting {name}", f"did you mean {where}{near[0]}?")
        current = getattr(base, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise UsageError(f"setting {name} is {value!r}; expected a table [{name}]")
            changes[key] = from_toml(current, value, where=f"{name}.")
        else:
            changes[key] = _fit(name, value, kinds[key])
    try:
        return dataclasses.replace(base, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise UsageError(str(error)) from error


def _fit(name: str, value: Any, kind: Any) -> Any:  # noqa: ANN401 - TOML is untyped
    """Return the value as the type that the setting has, or refuse it."""
    if typing.get_origin(kind) is Literal:
        if value in typing.get_args(kind):
            return value
        expected = " or ".join(map(repr, typing.get_args(kind)))
        raise UsageError(f"setting {name} is {value!r}; expected {expected}")
    if typing.get_origin(kind) is tuple:
        item_kind = typing.get_args(kind)[0]
        if isinstance(value, list):
            return tuple(_fit(name, item, item_kind) for item in value)
        raise UsageError(f"setting {name} is {value!r}; expected a list of {item_kind.__name__}")
    allowed = {k for k in (kind, *typing.get_args(kind)) if isinstance(k, type)}
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) in allowed:
        return value
    expected = " or ".join(sorted(k.__name__ for k in allowed if k is not type(None)))
    raise UsageError(f"setting {name} is {value!r}; expected {expected}")


def read_settings(path: Path, base: Settings) -> Settings:
    """Read a TOML file over `base`.

    Raises:
        UsageError: If the file cannot be read, or says something that does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read settings from {path}: {error}") from error
    return from_toml(base, table)
