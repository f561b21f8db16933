"""Pictures of a simulation of MuJoCo, drawn with or without a screen, and films made of pictures."""

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

from neoteny.envs.packages import MissingPackageError
from neoteny.errors import SettingError

__all__ = ["KINDS", "Camera", "backend", "film", "kind"]

_NEEDS = {".mp4": ("imageio_ffmpeg", "imageio-ffmpeg"), ".gif": ("PIL", "pillow")}
KINDS = tuple(_NEEDS)
_BACKENDS = ("egl", "osmesa", "glfw", "cgl")
# What a picture needs, up to the point where MuJoCo says whether this OpenGL will do.
_PROBE = """
import mujoco
from mujoco.{name} import GLContext
context = GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100.value)
context.free()
"""


def backend() -> str:
    """The first way to OpenGL that works here: `egl` or `osmesa`, which need no screen, `glfw` or `cgl`.

    Where MUJOCO_GL names one, it is that one or none.

    Raises:
        MissingPackageError: none works; the message says which packages bring one.
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
    # Tried in a process of its own each: a library that fails halfway leaves PyOpenGL unfit for another one.
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
        f"No OpenGL to draw with was found here ({'; '.join(failures)}). Install one that needs no screen: on Debian "
        "and Ubuntu `apt-get install libegl1 libgl1 libgl1-mesa-dri` for EGL, or `apt-get install libosmesa6`; and "
        "leave MUJOCO_GL unset, or name the one you have."
    )


class Camera:
    """Draws a simulation, from the camera of the model that follows the robot where there is one.

    Args:
        model: MuJoCo's.
        width: of a picture in pixels.
        height: of a picture in pixels.

    Raises:
        MissingPackageError: no OpenGL works here.
    """

    def __init__(self, model: Any, width: int, height: int):
        name = backend()
        self._mujoco: Any = import_module("mujoco")
        mujoco = self._mujoco
        self._context = import_module(f"mujoco.{name}").GLContext(width, height)
        self._context.make_current()
        room = model.vis.global_
        room.offwidth, room.offheight = max(room.offwidth, width), max(room.offheight, height)
        self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        self._scene, self._view = mujoco.MjvScene(model, maxgeom=10_000), mujoco.MjvCamera()
        if model.ncam:
            self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED.value, 0
        self._rest = mujoco.MjvOption(), mujoco.MjvPerturb()
        self._model, self._frame = model, mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)

    def __call__(self, data: Any) -> NDArray[np.uint8]:
        """A picture of the state of a simulation, [height, width, 3]."""
        mujoco = self._mujoco
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, *self._rest, self._view, everything, self._scene)
        mujoco.mjr_render(self._frame, self._scene, self._drawing)
        mujoco.mjr_readPixels(self._pixels, None, self._frame, self._drawing)
        return self._pixels[::-1].copy()  # OpenGL counts rows from below

    def close(self) -> None:
        """Let go of OpenGL."""
        self._drawing.free()
        self._context.free()


def kind() -> str:
    """The suffix of a film where none was chosen: .mp4 if imageio-ffmpeg is installed, otherwise .gif."""
    try:
        import_module("imageio_ffmpeg")
    except ImportError:
        return ".gif"
    return ".mp4"


def film(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write pictures as a film, whole or not at all.

    Args:
        path: ends in .mp4 or .gif.
        pictures: [height, width, 3] each, taken one after the other as they are written.
        rate: pictures a second; a GIF counts in hundredths of a second.

    Raises:
        SettingError: another ending, or a folder that cannot be made or written to.
        MissingPackageError: the package that writes such a film is not installed.
    """
    check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error}): give another place for the film.") from error
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # what writes it goes by the ending
    try:
        (_mp4 if path.suffix == ".mp4" else _gif)(temporary, pictures, rate)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check(path: Path) -> None:
    """See whether a film of this name can be written.

    Raises:
        SettingError: another ending than .mp4 and .gif.
        MissingPackageError: the package that writes such a film is not installed.
    """
    if path.suffix not in KINDS:
        raise SettingError(f"{path}: a film is one of {', '.join(KINDS)}; end its name like that.")
    module, package = _NEEDS[path.suffix]
    try:
        import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{path} cannot be written ({error}): `pip install {package}`.") from error


def _mp4(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    with import_module("imageio.v2").get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2) as writer:
        for picture in pictures:
            height, width = (side // 2 * 2 for side in picture.shape[:2])  # the usual encoding takes even ones
            writer.append_data(picture[:height, :width])


def _gif(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    from PIL import Image

    images = map(Image.fromarray, pictures)
    first = next(images).quantize(256)
    # one palette for all, without dithering: what does not move stays the same, and costs nothing
    rest = (image.quantize(palette=first, dither=Image.Dither.NONE) for image in images)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=round(100 / rate) * 10, loop=0)
