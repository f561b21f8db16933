"""Settings as YAML text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from neoteny.checks import shown
from neoteny.errors import SettingError


class _Loader(yaml.SafeLoader):
    """Reads what settings are made of: names, numbers, truth values, nothing, lists and mappings.

    Other things of YAML 1.1 are read as text (dates, `1:30` for 90) or are errors: tags such as `!!set`, a key that is
    given twice, and references, of which a short file can make a value too large for any memory. `1e-5`, which YAML
    takes for text as it has no point, is a number.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"*{self.peek_event().anchor} refers to another value: write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, (str, int, float, bool)) and name is not None:
                raise yaml.YAMLError(f"the key {name!r} is no name")
            if str(name) in found:
                raise yaml.YAMLError(f"{name} is given twice: give it once")
            found[str(name)] = self.construct_object(value, deep=deep)
        return found


_KINDS = tuple(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map"))
_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in (*_KINDS, None)
}
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] in _KINDS and not rule[0].endswith((":int", ":float"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)[eE][-+]?[0-9]+\Z|[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+)\Z"
        r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
    ),
    list("-+.0123456789"),
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SettingError(f"{name} is not YAML as settings are written ({said}): put it right there.") from error
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingError(
            f"{shown(text)} is not a value that YAML can read: quote it, or give a plain number."
        ) from error


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
