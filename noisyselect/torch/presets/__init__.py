"""Presets: the settings of the paper's tables, each a TOML file with every value visible."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from noisyselect.torch.settings import Settings

_DATA: dict[str, Any] = {"data": str, "noise": str, "noise_rate": float, "human_column": str}


@dataclass(frozen=True)
class Preset:
    """A data set with a kind of noise, and the settings for it.

    Attributes
    ----------
    name : str
        Of the preset, or of the file without its ending.
    data : dict
        Which data: ``data`` (as `load_data` takes it), ``noise`` and ``noise_rate`` (as for
        `with_noise`) and ``human_column``, as far as the file has them.
    settings : Settings
    """

    name: str
    data: dict[str, Any]
    settings: Settings


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package, in alphabetical order."""
    ours = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in ours if name.endswith(".toml"))


def preset_text(name: str) -> str:
    """Return the TOML file of a preset, to read or to start one's own from.

    Parameters
    ----------
    name : str
        One of `preset_names`, or the path of a TOML file.

    Raises
    ------
    ValueError
        If there is no preset of this name, or the file is not of UTF-8.
    FileNotFoundError
        If there is no file at the path.
    """
    if _is_path(name):
        try:
            return Path(name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is not text in UTF-8, so it is no preset.") from None
    if name not in preset_names():
        raise ValueError(
            f"A preset must be one of {', '.join(preset_names())}, or a path that ends in .toml; "
            f"got {name!r}."
        )
    return files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")


def load_preset(name: str | Path) -> Preset:
    """Return a preset that comes with the package, or one's own.

    Parameters
    ----------
    name : str or path
        One of `preset_names`, or the path of a TOML file: what ends in ``.toml`` is taken for one.
        It may have the tables ``[data]`` (see `Preset`) and ``[settings]`` (fields of `Settings`);
        what it lacks has its default.

    Raises
    ------
    ValueError
        If there is no preset of this name, the file is not TOML, or a setting is out of its range.
    TypeError
        If a key is unknown, or its value has another type; the message names file and key.
    FileNotFoundError
        If there is no file at the path.

    Examples
    --------
    >>> preset = load_preset("cifar100-sym90")
    >>> preset.data["noise_rate"], preset.settings.warm_up, preset.settings.lambda_u
    (0.9, 30, 150.0)
    """
    name = str(name)
    text = preset_text(name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is not TOML: {error}.") from None
    _check_keys(name, "", tables, {"data": dict, "settings": dict})
    data, settings = tables.get("data", {}), tables.get("settings", {})
    _check_keys(name, "[data] ", data, _DATA)
    _check_keys(name, "[settings] ", settings, get_type_hints(Settings))
    try:
        return Preset(Path(name).stem if _is_path(name) else name, data, Settings(**settings))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _is_path(name: str) -> bool:
    return name.endswith(".toml")


def _check_keys(name: str, table: str, found: dict[str, Any], known: dict[str, Any]) -> None:
    for key, value in found.items():
        if key not in known:
            raise TypeError(
                f"{name}: {table}has the unknown key `{key}`; known are {', '.join(known)}."
            )
        if not _fits(value, known[key]):
            raise TypeError(f"{name}: {table}`{key}` must be {_said(known[key])}, got {value!r}.")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if get_origin(kind) is Literal:
        # Which text it may be, `Settings` checks.
        return isinstance(value, str)
    if isinstance(kind, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _said(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a list of texts"
    if get_origin(kind) is Literal:
        return "a text"
    if isinstance(kind, UnionType):
        return _said(get_args(kind)[0])
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind, "a table")
