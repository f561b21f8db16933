"""Compiled code for the processor, where there is a C++ compiler."""

from __future__ import annotations

import ctypes
import functools
import getpass
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path

from neoteny.errors import SettingError
from neoteny.progress import stage


class CompileWarning(UserWarning):
    """Code runs uncompiled: results are the same, and it takes longer."""


@functools.cache
def compiler() -> str | None:
    """The C++ compiler that `torch.compile` would use, or None."""
    return next((name for name in (os.environ.get("CXX"), "g++", "clang++") if name and shutil.which(name)), None)


@functools.cache
def available() -> bool:
    """Whether code for the CPU can be compiled here; warns once if it cannot."""
    if compiler() is None:
        warnings.warn(
            "no C++ compiler was found, so training runs uncompiled: the same results, but many times slower. "
            "Install g++ or clang++ (for example: apt install g++), or pass compile=False to silence this.",
            CompileWarning,
            stacklevel=3,
        )
    return compiler() is not None


# Not -ffast-math: it would make the whole process flush denormals to zero, and a loss that is not finite must stay so.
_FLAGS = (
    *("-O3", "-fopenmp-simd", "-std=c++17", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"),
)
_X86 = ("-march=native", "-mprefer-vector-width=512")
_TUNING = {"x86_64": _X86, "amd64": _X86, "aarch64": ("-mcpu=native",), "arm64": ("-mcpu=native",)}
"""Flags for the processor at hand, by the name of its kind; a compiler that does not know them compiles without."""


@functools.cache
def kernel(source: Path, *defined: str) -> ctypes.CDLL:
    """A C++ file compiled for this processor and loaded; built once, in torch's cache folder.

    Args:
        source: the file; it may include the headers beside it.
        defined: what is defined for it, each as NAME=VALUE.

    Raises:
        SettingError: the compiler reports an error, or the folder is not only ours to write.
    """
    command = [compiler() or "g++", *_FLAGS, *(f"-D{each}" for each in defined)]
    tuned = [*command, *_TUNING.get(platform.machine().lower(), ())]
    texts = [path.read_text() for path in (source, *sorted(source.parent.glob("*.h")))]
    identity = "\0".join([*tuned, platform.machine(), _processor(), *texts])
    folder = code_folder() / "neoteny"
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_ours(folder)
    target = folder / f"{source.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if not target.exists():
        with stage("compiling"), tempfile.TemporaryDirectory(dir=folder) as building:
            built = Path(building) / target.name
            error = _compiled(tuned, source, built) and _compiled(command, source, built)
            if error:
                raise SettingError(
                    f"{command[0]} could not compile {source.name}: {error}. Name another compiler in the environment "
                    "variable CXX; the laboratory does without with strategy='loop'."
                )
            os.replace(built, target)
    _require_ours(target)
    return ctypes.CDLL(str(target))


def _compiled(command: list[str], source: Path, built: Path) -> str:
    """What the compiler has to say if it fails; empty if it does not."""
    made = subprocess.run([*command, str(source), "-o", str(built)], capture_output=True, text=True)
    return (made.stderr.strip().splitlines() or ["it gave no reason"])[-1] if made.returncode else ""


@functools.cache
def optional(source: Path) -> ctypes.CDLL | None:
    """The same where it can be built; None where torch has to do it: without a compiler, or with one that fails."""
    try:
        return None if compiler() is None else kernel(source)
    except (SettingError, OSError):
        return None


def code_folder() -> Path:
    """The folder from which compiled code is loaded: torch's cache, in the temporary directory if not named elsewhere.

    Raises:
        SettingError: somebody else could have put code there.
    """
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or _default_folder()).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _require_ours(folder)
    return folder


def _default_folder() -> Path:
    """The one that torch takes, found without importing TorchInductor, which takes a second."""
    try:
        user = getpass.getuser()
    except (KeyError, ModuleNotFoundError, OSError):  # a container's user that has no name
        user = f"uid_{os.getuid()}" if hasattr(os, "getuid") else "unknown_user"
    return Path(tempfile.gettempdir()) / ("torchinductor_" + re.sub(r'[\\/:*?"<>|]', "_", user))


def _require_ours(path: Path) -> None:
    """Refuse to load code from what another user owns or may write to: its name can be foreseen."""
    link, found = path.lstat(), path.stat()
    mine = not hasattr(os, "geteuid") or link.st_uid == found.st_uid == os.geteuid()
    if not mine or found.st_mode & stat.S_IWOTH:
        raise SettingError(
            f"{path} belongs to another user, or others may write to it, so compiled code in it is not loaded: remove "
            "it, or name a folder of your own in the environment variable TORCHINDUCTOR_CACHE_DIR."
        )


def _processor() -> str:
    """What -march=native depends on: different machines may share a cache folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
