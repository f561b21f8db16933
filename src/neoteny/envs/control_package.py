"""DeepMind's package dm_control as this library uses it: on MuJoCo 4, and with faster access to named values.

dm_control 1.0.50 lists the arrays of MuJoCo's model and data and reads all of them when a task is made. MuJoCo 4 has
no longer nine arrays of deformable bodies, which no task of the suite has, so that making any task fails. `load_suite`
takes from the list what MuJoCo does not have. With versions that fit, there is nothing to take.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Any

from neoteny.errors import MissingPackageError

__all__ = ["begin_episode", "cache_names", "load_suite"]


@cache
def load_suite() -> Any:
    """The module `dm_control.suite`, ready for the MuJoCo that is installed.

    MuJoCo's handler of warnings stays the one it was; dm_control would put its own in its place.

    Raises:
        MissingPackageError: dm_control is not installed.
    """
    mujoco: Any = import_module("mujoco")
    handler = mujoco.get_mju_user_warning()
    try:
        sizes = import_module("dm_control.mujoco.wrapper.mjbindings.sizes").array_sizes
        model = mujoco.MjModel.from_xml_string("<mujoco/>")
        for kind, owner in (("mjmodel", model), ("mjdata", mujoco.MjData(model))):
            for name in [name for name in sizes[kind] if not hasattr(owner, name)]:
                del sizes[kind][name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a screen, and complains where there is none
            return import_module("dm_control.suite")
    except ImportError as error:
        raise MissingPackageError(
            f"neoteny.envs.ControlTask needs dm_control ({error}): install the packages of DeepMind's tasks and of "
            "mazes with `pip install neoteny[suite]`."
        ) from error
    finally:
        mujoco.set_mju_user_warning(handler)


def cache_names(physics: Any) -> None:
    """Let a task's physics remember what each name stands for.

    `physics.named.data.xpos["torso", "z"]` looks up names anew each time, which takes most of the time of some tasks.
    The values are the same.
    """
    index = import_module("dm_control.mujoco.index")

    class Remembering(index.FieldIndexer):  # type: ignore[name-defined, misc] - the package has no types
        __slots__ = ("_known",)

        def __init__(self, field: Any):
            self._field_name, self._field, self._axes = field._field_name, field._field, field._axes
            self._known: dict[Any, Any] = {}

        def _convert_key(self, key: Any) -> Any:
            kind = type(key)
            if kind is list or kind is tuple:
                # a list and a tuple of the same names stand for different values
                word = (kind, *(part if isinstance(part, str) else repr(part) for part in key))
            elif kind is str:
                word = key
            else:
                return super()._convert_key(key)
            if word not in self._known:
                self._known[word] = super()._convert_key(key)
            return self._known[word]

    def remembering(fields: Any) -> Any:
        return index.make_struct_indexer({name: Remembering(field) for name, field in fields._asdict().items()})

    named = physics.named
    physics._named = type(named)(model=remembering(named.model), data=remembering(named.data))


def begin_episode(task: Any, physics: Any) -> None:
    """What a task does at the beginning of an episode.

    One whose ground is drawn (quadruped-escape) asks its physics for pictures, which are then made: without a screen
    that fails. Here it finds none, unless somebody had some made.
    """
    kind = type(physics)
    physics.__class__ = _without_new_pictures(kind)
    try:
        with physics.reset_context():
            task.initialize_episode(physics)
    finally:
        physics.__class__ = kind


@cache
def _without_new_pictures(kind: Any) -> Any:
    return type(kind.__name__, (kind,), {"contexts": property(lambda physics: physics._contexts)})
