"""Pictures of a MuJoCo simulation, drawn with or without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import MissingPackageError

__all__ = ["Camera", "backend"]

_BACKENDS = ("egl", "osmesa", "glfw", "cgl")
# Run in a process of its own: whether MuJoCo can draw with this OpenGL.
_PROBE = """
import os
os.environ["MUJOCO_GL"] = "{name}"
import mujoco
mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
"""


def backend() -> str:
    """The first OpenGL library that works here: `egl` or `osmesa`, which need no screen, `glfw` or `cgl`.

    Where the environment variable MUJOCO_GL names one, only that one is tried.

    Raises:
        MissingPackageError: none works; the message says which packages to install.
    """
    named = os.environ.get("MUJOCO_GL", "").lower().strip()
    if named in _BACKENDS:
        return _first((named,))
    if sys.platform != "linux":
        return _first(("cgl", "glfw") if sys.platform == "darwin" else ("glfw",))
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return _first(("egl", "osmesa", *(["glfw"] if screen else [])))


@cache
def _first(names: tuple[str, ...]) -> str:
    # Each is tried in a process of its own: one that fails halfway leaves PyOpenGL unable to load another.
    clean = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    failures = []
    for name in names:
        code = _PROBE.format(name=name)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=False)
        if done.returncode == 0:
            return name
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        failures.append(f"{name}: {said[-1].strip()}")
    raise MissingPackageError(
        f"No OpenGL library that can draw was found here ({'; '.join(failures)}). Install one that needs no "
        "screen: on Debian and Ubuntu `apt-get install libegl1 libgl1 libgl1-mesa-dri` for EGL, or `apt-get install "
        "libosmesa6`; and leave MUJOCO_GL unset, or set it to the one that is installed."
    )


class Camera:
    """Draws a simulation with `mujoco.Renderer`, by default from the model's first camera, which follows the robot.

    Args:
        model: MuJoCo's model of the robot.
        width: of a picture in pixels.
        height: of a picture in pixels.
        camera: number of the model's camera.

    Raises:
        MissingPackageError: no OpenGL works here.
    """

    def __init__(self, model: Any, width: int, height: int, camera: int = 0):
        mujoco: Any = import_module("mujoco")
        # MuJoCo chooses an OpenGL when it is imported, and takes one that needs a screen: give it the one that works.
        chosen = sys.modules[mujoco.Renderer.__module__].gl_context
        chosen.GLContext = import_module(f"mujoco.{backend()}").GLContext
        limits = model.vis.global_
        limits.offwidth, limits.offheight = max(limits.offwidth, width), max(limits.offheight, height)
        self._renderer = mujoco.Renderer(model, height, width)
        self._camera = min(camera, model.ncam - 1)  # -1 is MuJoCo's free camera

    def __call__(self, data: Any) -> NDArray[np.uint8]:
        """A picture of the state of a simulation, [height, width, 3]."""
        self._renderer.update_scene(data, self._camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free OpenGL's memory."""
        self._renderer.close()
