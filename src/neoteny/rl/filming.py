"""Pictures of a MuJoCo simulation, drawn with or without a screen, and films of pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import MissingPackageError, SettingError

__all__ = ["KINDS", "Camera", "backend", "film", "kind"]

_NEEDS = {".mp4": ("imageio_ffmpeg", "imageio-ffmpeg"), ".gif": ("PIL", "pillow")}
KINDS = tuple(_NEEDS)
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
    """Draws a simulation with `mujoco.Renderer`, from the model's first camera, which follows the robot.

    Args:
        model: MuJoCo's model of the robot.
        width: of a picture in pixels.
        height: of a picture in pixels.

    Raises:
        MissingPackageError: no OpenGL works here.
    """

    def __init__(self, model: Any, width: int, height: int):
        mujoco: Any = import_module("mujoco")
        # MuJoCo chooses an OpenGL when it is imported, and takes one that needs a screen: give it the one that works.
        chosen = sys.modules[mujoco.Renderer.__module__].gl_context
        chosen.GLContext = import_module(f"mujoco.{backend()}").GLContext
        limits = model.vis.global_
        limits.offwidth, limits.offheight = max(limits.offwidth, width), max(limits.offheight, height)
        self._renderer = mujoco.Renderer(model, height, width)
        self._camera = 0 if model.ncam else -1

    def __call__(self, data: Any) -> NDArray[np.uint8]:
        """A picture of the state of a simulation, [height, width, 3]."""
        self._renderer.update_scene(data, self._camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free OpenGL's memory."""
        self._renderer.close()


def kind() -> str:
    """The suffix of a film where none was chosen: .mp4 if imageio-ffmpeg is installed, otherwise .gif."""
    try:
        import_module("imageio_ffmpeg")
    except ImportError:
        return ".gif"
    return ".mp4"


def film(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write pictures as a film. The file appears when it is complete; after an error there is none.

    Args:
        path: of the film, with suffix .mp4 or .gif.
        pictures: [height, width, 3] each; each is made when it is written, so that few are in memory.
        rate: pictures a second; a GIF rounds the time between two to hundredths of a second.

    Raises:
        SettingError: another suffix, or a folder that cannot be made or written to.
        MissingPackageError: the package that writes such a film is not installed.
    """
    check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error}): give another place for the film.") from error
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # the suffix tells the writers which format
    try:
        (_mp4 if path.suffix == ".mp4" else _gif)(temporary, pictures, rate)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check(path: Path) -> None:
    """Raise an error unless a film of this name can be written.

    Raises:
        SettingError: another suffix than .mp4 and .gif.
        MissingPackageError: the package that writes such a film is not installed.
    """
    if path.suffix not in KINDS:
        raise SettingError(f"{path}: films are written as {' or '.join(KINDS)}; give a name that ends in one of these.")
    module, package = _NEEDS[path.suffix]
    try:
        import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{path} cannot be written ({error}): `pip install {package}`.") from error


def _mp4(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    with import_module("imageio.v2").get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2) as writer:
        for picture in pictures:
            height, width = (side // 2 * 2 for side in picture.shape[:2])  # H.264 needs even sides
            writer.append_data(picture[:height, :width])


def _gif(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    # Pillow itself: imageio would first collect all pictures, 0.7 GB for an episode of 1,000 steps.
    from PIL import Image

    images = map(Image.fromarray, pictures)
    first = next(images).quantize(256)
    # One palette for all and no dithering: a part of the picture that does not move takes no space.
    rest = (image.quantize(palette=first, dither=Image.Dither.NONE) for image in images)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=round(100 / rate) * 10, loop=0)
