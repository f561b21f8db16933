"""Settings as YAML text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from neoteny.errors import SettingError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-5` as text, because it has no point; this loader reads it as a number."""


_Loader.yaml_implicit_resolvers = {
    first: list(rules) for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Writes each list on one line, so that a hundred seeds do not take a hundred lines."""


_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True))


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Raises:
        SettingError: it is no YAML, or no mapping.

    >>> read_yaml("cbp: {replacement_rate: 1e-5}", "mine.yaml")
    {'cbp': {'replacement_rate': 1e-05}}
    """
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingError(f"{name} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingError(f"{name} holds {type(content).__name__}, not settings: write lines like 'step_size: 0.01'.")
    return content


def read_value(text: str) -> Any:
    """One value as YAML understands it.

    >>> read_value("1e-5"), read_value("relu"), read_value("false")
    (1e-05, 'relu', False)
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingError(f"{text!r} is not a value that YAML can read: quote it, or give a plain number.") from error


def write_yaml(content: Mapping[str, Any]) -> str:
    """Plain settings as YAML, in the order given; `read_yaml` gives the same back."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any) -> Any:
    """Tuples as lists, so that what is written equals what is read."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value
