"""What kind of value each setting takes, read from the annotations of its dataclass.

`Settings` is the base of all records of settings: methods, optimizers, benchmarks, ways of running. It refuses values
of another kind, whatever a class itself checks about their range. Numbers must be of a size that float32 can hold,
since that is what learners compute with: 1e-320 would become 0 there, and 1e300 infinite.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from neoteny.checks import is_finite, is_number, refuse, said_choice, title
from neoteny.errors import NeotenyError, SettingError

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["Kind", "Settings", "kinds", "require_kinds", "with_kinds"]

LARGEST_COUNT = 2**63 - 1
SMALLEST, LARGEST = 1.2e-38, 3.4e38  # in size, of the numbers that float32 holds in full


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an annotation says about a value.

    Attributes:
        said: in words.
        holds: whether a value is of this kind.
        convert: from what a file or a command line gives to the kind; anything else stays as it is.
        choices: the values, if they are few.
    """

    said: str
    holds: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value
    choices: tuple[Any, ...] = ()

    def require(self, owner: str, name: str, value: Any, usual: Any = None) -> None:
        """Refuse a value of another kind; `usual` is an example of one that is right.

        Raises:
            SettingError: it is of another kind.
        """
        if self.holds(value):
            return
        if self.choices:
            raise SettingError(f"{owner}: {said_choice(name, value, self.choices)}")
        said = self.said
        if is_number(value) and said.startswith("a number"):
            size = f"size {SMALLEST:g} to {LARGEST:g}"
            said = f"a number that float32 holds ({size}, or 0)" if is_finite(value) else "a finite number"
        refuse(owner, name, value, said, usual)


class Settings:
    """The base of records of settings: each field must be of the kind that its annotation says.

    A class checks the ranges in its `__post_init__`, which need not care about kinds.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Mine(Settings):
    ...     period: int = 10
    ...     rate: float = 0.5
    >>> Mine(period=2.5)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: Mine: period = 2.5 is not a whole number; give a whole number, such as 10.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = cls.__dict__.get("__post_init__")
        if own is not None:

            @functools.wraps(own)
            def checked(self: Any) -> None:
                try:
                    own(self)  # first: it knows the range as well
                except NeotenyError:
                    raise
                except MemoryError as error:  # to be checked it is tried out
                    raise SettingError(
                        f"{title(self)}: its sizes fit into no memory ({error}): make them smaller."
                    ) from error
                except Exception:  # it was not made for values of this kind
                    require_kinds(self)
                    raise
                require_kinds(self)

            cls.__post_init__ = checked

    def __post_init__(self) -> None:
        """Check the kinds."""
        require_kinds(self)


def require_kinds(record: Any) -> None:
    """Refuse a record in which a field is of another kind than its annotation says.

    Raises:
        SettingError: one is.
    """
    if _in_a_graph():
        return
    for name, (kind, usual) in kinds(type(record)).items():
        value = getattr(record, name)
        if value is None or value is not usual:  # a default is right, whatever was written beside it
            kind.require(title(record), name, value, usual)


def _in_a_graph() -> bool:
    """Whether `torch.compile` traces this: a rule may make a record of settings, which holds tensors of one run."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def with_kinds(*but: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: arguments of another kind than their annotations say are errors in words.

    Args:
        but: arguments that the function checks itself, as it can say more.

    >>> @with_kinds()
    ... def run(name: str, *, runs: int = 3):
    ...     return runs
    >>> run("x", runs=True)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: run: runs = True is not a whole number; give a whole number, such as 3.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.cache
        def known() -> dict[str, tuple[Kind, Any]]:
            space, found = getattr(function, "__globals__", {}), {}
            for name, parameter in signature.parameters.items():
                if name not in but and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    kind = kind_of(_evaluated(parameter.annotation, space, {}))
                    usual = None if parameter.default is parameter.empty else parameter.default
                    if kind is not None:
                        found[name] = kind, usual
            return found

        @functools.wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> T:
            for name, value in signature.bind_partial(*arguments, **keywords).arguments.items():
                if name in known():
                    kind, usual = known()[name]
                    kind.require(function.__name__, name, value, usual)
            return function(*arguments, **keywords)

        return checked

    return decorate


@functools.cache
def kinds(cls: type) -> Mapping[str, tuple[Kind, Any]]:
    """The kind of each field of a dataclass and its default; fields whose annotation says nothing are left out."""
    found: dict[str, tuple[Kind, Any]] = {}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            if name in fields:
                said = _evaluated(annotation, vars(sys.modules[base.__module__]), vars(base))
                usual = fields[name].default
                infinite = (isinstance(usual, float) and usual == math.inf) or math.inf in fields[name].metadata.get(
                    "accepts", ()
                )
                kind = kind_of(said, infinite)
                if kind is None:
                    found.pop(name, None)
                else:
                    found[name] = kind, None if usual is dataclasses.MISSING else usual
    return found


def _evaluated(annotation: Any, module: Mapping[str, Any], inner: Mapping[str, Any]) -> Any:
    """The annotation as an object; `Any` if a name in it is known to type checkers alone."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(module), dict(inner))
    except Exception:
        return Any


def kind_of(annotation: Any, infinite: bool = False) -> Kind | None:
    """The kind that an annotation says; None for one that says nothing that can be checked.

    Args:
        annotation: a type, a `Literal`, a union, a tuple, ...
        infinite: whether numbers may be infinite.
    """
    if annotation in _PLAIN:
        return _number(infinite) if annotation is float else _PLAIN[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(inner[0], infinite)
    if origin is Literal:
        return Kind(
            f"one of {list(inner)}", lambda value: any(type(value) is type(one) and value == one for one in inner),
            choices=inner,
        )  # fmt: skip
    if origin in (Union, types.UnionType):
        return _union([kind_of(part, infinite) for part in inner])
    if origin is tuple:
        return _tuple(inner, infinite)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        one = kind_of(inner[0], infinite)
        if one is None:
            return None
        return Kind(
            _several("a list", one),
            lambda value: isinstance(value, (list, tuple, str)) and all(map(one.holds, value)),
        )
    kind = origin or annotation
    if kind is type:
        base = get_origin(inner[0]) or inner[0]
        return Kind(f"a class of {base.__name__}", lambda value: isinstance(value, type) and issubclass(value, base))
    if kind is Callable or kind is get_origin(Callable[..., Any]):
        return Kind("a function", callable)
    if isinstance(kind, type) and kind not in (Any, object, inspect.Parameter.empty):
        return Kind(f"a {kind.__name__}", lambda value: isinstance(value, kind))
    return None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_COUNT


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_COUNT else value


def _number(infinite: bool) -> Kind:
    def holds(value: Any) -> bool:
        return is_number(value) and (
            value == 0 or SMALLEST <= abs(value) <= LARGEST or (infinite and abs(value) == math.inf)
        )

    def convert(value: Any) -> Any:
        return float(value) if holds(value) else value

    return Kind("a number", holds, convert)


def _union(parts: Sequence[Kind | None]) -> Kind | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None

    def convert(value: Any) -> Any:
        return next((part.convert(value) for part in known if part.holds(part.convert(value))), value)

    return Kind(
        " or ".join(part.said for part in known), lambda value: any(part.holds(value) for part in known), convert
    )


def _tuple(inner: tuple[Any, ...], infinite: bool) -> Kind | None:
    endless = len(inner) == 2 and inner[1] is ...
    each = [kind_of(part, infinite) for part in (inner[:1] if endless else inner)]
    if not each or any(kind is None for kind in each):
        return None

    def holds(value: Any) -> bool:
        if not isinstance(value, tuple) or not (endless or len(value) == len(each)):
            return False
        return all((each[0] if endless else each[at]).holds(one) for at, one in enumerate(value))  # type: ignore[union-attr]

    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return tuple((each[0] if endless or at >= len(each) else each[at]).convert(one) for at, one in enumerate(value))  # type: ignore[union-attr]

    assert each[0] is not None
    count = "a list" if endless else "a pair" if len(each) == 2 else f"a list of {len(each)}"
    return Kind(_several(count, each[0]), holds, convert)


def _several(count: str, one: Kind) -> str:
    if one.said.startswith("a ") and " or " not in one.said and " of " not in count + one.said:
        return f"{count} of {one.said.removeprefix('a ')}s"
    return f"{count}, each {one.said}"


_PLAIN: dict[Any, Kind] = {
    bool: Kind("true or false", lambda value: isinstance(value, bool)),
    int: Kind("a whole number", _whole, _as_whole),
    float: _number(False),
    str: Kind("a name", lambda value: isinstance(value, str)),
    None: Kind("none", lambda value: value is None),
    type(None): Kind("none", lambda value: value is None),
    Path: Kind("a path", lambda value: isinstance(value, (str, os.PathLike))),
}
