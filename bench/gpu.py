"""What a GPU makes of it, in at most eight minutes: the tests that need one, and the speed of everything that stacks.

    python bench/gpu.py                          # all parts; writes docs/evidence/gpu.md, and gpu.json beside it
    python bench/gpu.py --parts sac,atari        # some of them anew
    python bench/gpu.py --device cpu --quick     # every part at a tiny size, to see that it works

`make gpu` runs it. Each part is a process of its own with a time limit, and the page is written after every number: a
run that is cut off leaves what there is, and says what is missing. What a part does not need goes to those after it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from sections import Row, Stacked, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence" / "gpu.md"
LIMIT = 480
CUT_OFF = "the whole was cut off while it was measured"


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        title: of its section.
        seconds: its share of the time.
        bench: the module that measures.
        function: the module's function of a device and of whether all is tiny.
        about: what is measured.
    """

    title: str
    seconds: int
    bench: str
    function: str
    about: str

    def load(self) -> Stacked:
        """The function; what its module needs is imported now."""
        return getattr(import_module(self.bench), self.function)


PARTS = {
    "imagenet": Part(
        "Continual ImageNet",
        *(90, "epochs", "imagenet"),
        "30 runs of continual backpropagation as one stack beside runs one after the other, data included; the time of "
        "Fig. 1c, 5,000 tasks.",
    ),
    "sac": Part(
        "Soft actor-critic",
        40,
        "replay",
        "stacked",
        "Updates of ten agents as one stack, 256-256 units, batches of 256.",
    ),
    "ppo": Part("PPO", 40, "agents", "stacked", "Ten agents on MuJoCo's ant as one stack, 256-256 units."),
    "gpt": Part(
        "Attached to a GPT",
        25,
        "overhead",
        "stacked",
        "What continual backpropagation adds to the steps of a user's own loop.",
    ),
    "atari": Part(
        "Agents that see pixels",
        *(135, "atari", "stacked"),
        "Updates of five agents as one stack, and what those of the table of 26 games take; environments come on top.",
    ),
    "cifar": Part(
        "Class-incremental CIFAR-100",
        *(75, "epochs", "cifar"),
        "30 runs of ResNet-18 as one stack beside runs one after the other, data and augmentation included.",
    ),
    "tests": Part("Tests", 75, "gpu", "tests", "`pytest -m cuda`: the tests that need a GPU."),
}


def tests(device: str, quick: bool) -> Iterator[Row]:
    """How many of the tests that are marked `cuda` pass, and which do not."""
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if "mark.cuda" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-v", "-rs", "-p", "no:cacheprovider", *files]
    counts: Counter[str] = Counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            words = line.split()
            if words[:1] == ["SKIPPED"]:  # the reasons, at the end
                yield Row(f"skipped {words[1]}", " ".join(words[3:]))
            elif len(words) > 1 and words[1] in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
                counts[words[1]] += 1
                yield Row(words[1].lower(), counts[words[1]])
                if words[1] in ("FAILED", "ERROR"):
                    yield Row(f"`{words[0]}`", words[1].lower())


def attend(command: list[str], limit: float, hear: Callable[[Row], None]) -> str:
    """Run a part's process and hear its rows; why it ended early, or nothing.

    Whatever else it prints goes to the error stream, and the last line of that says why it failed.
    """
    stopped, last = threading.Event(), ""

    def stop() -> None:
        stopped.set()
        os.killpg(process.pid, signal.SIGKILL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes) as process:
        timer = threading.Timer(limit, stop)
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith('{"row": '):
                    hear(Row(*json.loads(line)["row"]))
                elif line.strip():
                    last = line.strip()
                    sys.stderr.write(line)
            process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:  # this program is being stopped
                stop()
    if stopped.is_set():
        return f"stopped after {limit:.0f} seconds"
    return f"failed: {last or process.returncode}" if process.returncode else ""


def page(found: dict[str, Any]) -> str:
    """What was measured, and what was not."""
    parts = found["parts"]
    missing = [name for name in PARTS if name not in parts or parts[name]["ended"]]
    lines = [
        "# On a GPU",
        "`make gpu` (`bench/gpu.py`), in at most eight minutes: each part is a process with a time limit of its own. "
        f"{found['device']}, torch {found['torch']}, {found['cores']} cores."
        + (" Everything is tiny: this only shows that it works." if found["quick"] else ""),
    ]
    if missing:
        lines.append(f"Missing, whole or in part: {', '.join(missing)}.")
    for name, part in PARTS.items():
        own = parts.get(name)
        lines += [f"## {part.title}", part.about]
        if own is None:
            lines.append(f"Not measured yet: `make gpu ARGS='--parts {name}'`.")
            continue
        if own["rows"]:
            lines.append("\n".join(table(Row(what, *rest) for what, rest in own["rows"].items())))
        took = f"Took {own['seconds']:.0f} seconds"
        lines.append(
            f"{took}; {own['ended']}. What is not in the table was not measured." if own["ended"] else f"{took}."
        )
    return "\n\n".join(lines) + "\n"


def plan() -> str:
    """What would be measured."""
    lines = [
        f"No CUDA device is at hand (torch {torch.__version__} sees none), so nothing was measured. Where there is "
        f"one, this takes at most {LIMIT} seconds, writes {PAGE.relative_to(ROOT)}, and measures:",
        *(f"{part.seconds:4} s  {name:9} {part.about}" for name, part in PARTS.items()),
        "To see each part work at a tiny size: python bench/gpu.py --device cpu --quick",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure the parts one after the other, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", default=",".join(PARTS), help="some of them, in the order in which they are measured"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything at a tiny size")
    parser.add_argument("--seconds", type=float, default=LIMIT, help="for all parts together")
    parser.add_argument("--out", type=Path, help=f"the page; by default {PAGE.relative_to(ROOT)}, or with --quick none")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    gpu = torch.device(options.device).type == "cuda"
    if gpu and not torch.cuda.is_available():
        print(plan())
        return
    if not (gpu or options.quick):
        parser.error(f"--device {options.device} would take hours: give --quick as well.")
    if options.part:
        torch.set_num_threads(1)
        for row in PARTS[options.part].load()(options.device, options.quick):
            print(json.dumps({"row": row}), flush=True)
        return
    wanted = options.parts.split(",")
    for name in wanted:
        if name not in PARTS:
            parser.error(f"--parts {name} is not one of {', '.join(PARTS)}.")
    out = options.out or (None if options.quick else PAGE)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(options.device) if gpu else "a CPU",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "quick": options.quick,
        "parts": {},
    }
    numbers = out.with_suffix(".json") if out else None
    if numbers and numbers.exists():
        before = json.loads(numbers.read_text("utf-8"))
        if {**before, "parts": {}} == found:  # from the same machine
            found["parts"] = before["parts"]

    def write() -> None:
        if out and numbers:
            numbers.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            out.write_text(page(found), "utf-8")

    options_of_all = ["--device", options.device, *["--quick"] * options.quick]
    until = time.monotonic() + options.seconds
    for number, name in enumerate(wanted):
        own = found["parts"][name] = {"rows": {}, "seconds": 0.0, "ended": CUT_OFF}
        begun = time.monotonic()

        def hear(row: Row, own: dict[str, Any] = own, begun: float = begun) -> None:
            own["rows"][row.what] = row[1:]
            own["seconds"] = time.monotonic() - begun
            write()

        share = PARTS[name].seconds / sum(PARTS[other].seconds for other in wanted[number:])
        print(f"{name}: at most {share * (until - begun):.0f} seconds", file=sys.stderr, flush=True)
        command = [sys.executable, str(Path(__file__).resolve()), "--part", name, *options_of_all]
        ended = attend(command, share * (until - begun), hear)
        own |= {"seconds": time.monotonic() - begun, "ended": ended}
        write()
    print(page(found))


if __name__ == "__main__":
    main()
