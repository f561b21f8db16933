"""Made-up inputs: command lines, YAML files and Python settings that somebody might give, and many that nobody would.

An input is answered well if it is accepted and can work, or refused in words: by an error of neoteny's, or by an exit
status of 2 with a message. Whether an accepted setting can work is judged here by a table of its own, not by the code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import math
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from neoteny import lab, registry
from neoteny.cli.main import COMMANDS, main
from neoteny.errors import NeotenyError
from neoteny.lab.execution import Execution
from neoteny.rl.settings import PPOSettings

__all__ = ["KINDS", "tried"]

PATIENCE = 60.0  # seconds of one input; nothing here takes more than one on an idle machine

VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 7, 100, 2**31, 2**63, 2**64, -(2**63), 10**400, 10**5000),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.1, 1e-5, 1e5, 1e-320, 5e-324, 1e39, 1e300, math.inf, -math.inf, math.nan),
    *(True, False, None, "", "a", "relu", "true", "1", "../x", "a\0b", "\ud800", "x" * 300, "🜁", b"1"),
    *([], [1], (), (0.9, 0.99), (1,), (0.9, math.nan), (0.9, 0.9, 0.9), {}, {"a": 1}, {1}, frozenset()),
    *(Decimal("0.1"), Fraction(1, 2), 1j, np.float64(0.5), np.int64(3), np.bool_(True), np.zeros(2), np.nan),
    *(object(), object, len, lambda: 1, type, Ellipsis, NotImplemented, iter([]), range(3), slice(1), Path("x")),
)


def tried(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Try `count` inputs of a kind: how many were refused and accepted, and what went wrong."""
    chance = random.Random(f"{kind} {seed}")
    refused, accepted = 0, 0
    wrong: list[str] = []
    for _, (said, attempt) in zip(range(count), KINDS[kind](chance), strict=False):
        began = time.monotonic()
        try:
            problem = attempt()
            accepted += 1
            if problem:
                wrong.append(f"{said}: {problem}")
        except NeotenyError as error:
            refused += 1
            if len(str(error)) > 3_000:
                wrong.append(f"{said}: a message of {len(str(error)):,} letters")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            wrong.append(f"{said}: {type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})")
        if time.monotonic() - began > PATIENCE:
            wrong.append(f"{said}: took {time.monotonic() - began:.0f} seconds")
    return {"refused": refused, "accepted": accepted, "wrong": wrong}


Attempt = tuple[str, Callable[[], str]]


# --- Python settings


def settings(chance: random.Random) -> Iterator[Attempt]:
    """A value for one setting of a record, or for one argument of a function."""
    records: list[type] = [Execution, PPOSettings]
    for table in (registry.METHODS, registry.OPTIMIZERS, registry.BENCHMARKS):
        records += [table[name].load() for name in table if table[name].target.startswith("neoteny.")]
    functions = [lab.resolve, lab.resolve_all, lab.run, lab.resume]
    while True:
        value = chance.choice(VALUES)
        if chance.random() < 0.85:
            record = chance.choice(records)
            field = chance.choice(dataclasses.fields(record))
            yield f"{record.__name__}({field.name}={_shown(value)})", _made(record, field, value)
        else:
            function = chance.choice(functions)
            names = [
                name for name, one in inspect.signature(function).parameters.items() if one.kind != one.VAR_KEYWORD
            ]
            name = chance.choice(names)
            yield f"{function.__name__}({name}={_shown(value)})", _called(function, name, value)


def _made(record: type, field: Any, value: Any) -> Callable[[], str]:
    def make() -> str:
        made = record(**{field.name: value})
        if can_work(str(_annotation(record, field.name)), getattr(made, field.name), field):
            return ""
        return "accepted"

    return make


def _annotation(record: type, name: str) -> Any:
    return next(base.__annotations__[name] for base in record.__mro__ if name in vars(base).get("__annotations__", {}))


def can_work(annotation: str, value: Any, field: Any) -> bool:
    """Whether a value may work where an annotation stands; this file's own judgement."""
    if value is None:
        return "None" in annotation
    if value in field.metadata.get("accepts", ()):
        return True
    if annotation.startswith("bool"):
        return type(value) is bool
    if annotation.startswith("int"):
        return isinstance(value, int) and type(value) is not bool and abs(value) < 2**63
    if annotation.startswith("float"):
        number = isinstance(value, (int, float)) and type(value) is not bool
        return number and bool(np.isfinite(np.float32(value))) and (value == 0 or abs(np.float32(value)) > 1e-38)
    if annotation.startswith("tuple[int"):
        return isinstance(value, tuple) and all(type(one) is int for one in value)
    if annotation.startswith("tuple[float"):
        return isinstance(value, tuple) and all(isinstance(one, float) and math.isfinite(one) for one in value)
    return isinstance(value, str) or annotation.startswith(("Optimizer", "Sequence"))


def _called(function: Any, name: str, value: Any) -> Callable[[], str]:
    def call() -> str:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            usual: dict[str, Any] = {"scale": "tiny", "runs": 1}
            if function is lab.resume:
                usual = {"run_dir": Path(folder) / "none", "progress": False}
            else:
                usual["benchmark"] = "slowly-changing-regression"
            if function is lab.run:
                usual |= {
                    "out": folder,
                    "progress": False,
                    "compile": False,
                    "settings": {"tasks": 1, "task_length": 20},
                }
            if function is lab.resolve_all:
                usual["systems"] = ["backprop"]
            function(**{**usual, name: value})
        return ""

    return call


LIKELY = {
    "scale": ("tiny", "small"),
    "runs": ("1", "3", "100000", "10000000"),
    "seed": ("7", "1" * 18),
    "tasks": ("2", "10000000"),
    "method": ("cbp", "l2", "adam+cbp", "backprop,redo"),
    "task-length": ("50", "1" * 15),
    "step-size": ("0.01", "1e-38"),
    "hidden": ("5", "1" * 11),
    "optimizer": ("adam", "muon"),
    "threads": ("1", "2", "100000"),
    "compile": ("true", "false"),
    "activation": ("tanh",),
    "cbp.replacement-rate": ("1e-3",),
    "bin-size": ("10",),
    "inputs": ("20", "1" * 12),
    "batch-size": ("2", "1" * 12),
    "probe-size": ("9", "1" * 12),
    "strategy": ("loop",),
    "device": ("cpu",),
    "grid": ("step-size=0.1,0.2", "cbp.replacement-rate=1e-3"),
    "features": ("9", "1" * 12),
}
"""Values of options that make sense, or are only too large: refusing nonsense is easy."""


# --- YAML files

WORDS = ("scale", "runs", "seed", "method", "tasks", "task_length", "step_size", "step-size", "learning_rate", "hidden",
         "activation", "optimizer", "grid", "cbp", "redo", "compile", "threads", "device", "strategy", "out",
         "optimizer.betas", "flip", "inputs", "nonsense", "1", "classes", "bin_size")  # fmt: skip
SCALARS = ("1", "0", "-1", "0.5", "1e-5", "1e400", "1" * 400, "1" * 6000, "true", "no", "null", "~", "''", "a", "relu",
           "cbp", "[1, 2]", "[]", "{}", "{a: 1}", "2024-01-01", "2024-13-45", "12:30:45", "!!int abc", "!!float x",
           "!!binary x", "!!set {a}", "!!python/object:os.system x", "!!timestamp x", "*a", "&a 1", "&a [*a]", ".inf",
           ".nan", "0x1F", "017", "|\n  text", "? x", "@", "`", "\"\\x\"", "\ud7ff", "[[[[1]]]]",
           "{replacement_rate: 1}", "{replacement_rate: 1e-320}", "{replacement_rate: 0.1, replacement-rate: 0.2}",
           "{name: adam, eps: .inf}", "{name: 3}", "{step_size: [1, 2]}", "{cbp.replacement_rate: [0.1, true]}",
           "[backprop, 3]", "<<")  # fmt: skip


def files(chance: random.Random) -> Iterator[Attempt]:
    """A file for `--config`: some lines of keys and values, or something else altogether."""
    whole = ("", "[" * 3000, "a: " + "{b: " * 2000, "- 1", "3", "a", "\0", "a:\tb", "--- 1\n--- 2", "%YAML 9",
             "a: b: c", "x: &x [1]\n" + "\n".join(f"y{k}: &y{k} [{', '.join(['*x'] * 9)}]" for k in range(3)),
             _bomb())  # fmt: skip
    while True:
        if chance.random() < 0.06:
            text = chance.choice(whole)
        else:
            keys = [chance.choice(WORDS) for _ in range(chance.randint(1, 3))]
            likely = [chance.random() < 0.5 and LIKELY.get(key.replace("_", "-")) for key in keys]
            text = "\n".join(f"{k}: {chance.choice(some or SCALARS)}" for k, some in zip(keys, likely, strict=True))
        yield repr(text[:150]), _dry_run(text)


def _bomb() -> str:
    """A few lines that stand for billions of values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    return "\n".join([*lines, "step_size: *a11"])


def _dry_run(text: str) -> Callable[[], str]:
    def run() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mine.yaml"
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            twice = [line.partition(":")[0].replace("-", "_") for line in text.splitlines() if ":" in line]
            twice = ["step_size" if name == "learning_rate" else name for name in twice]
            found = _command(["run", "slowly-changing-regression", "--config", str(path), "--dry-run"])
            return found or ("accepted though a key is given twice" if len(set(twice)) < len(twice) else "")

    return run


# --- command lines

TEXTS = ("", "0", "1", "-1", "1.5", "1e400", "1" * 5000, "nan", "inf", "1e-320", "True", "a", "~", "~/x",
         "~nobody-here/x", "/proc/none", "/dev/null/x", "/", "x" * 300, "a/../..", "🜁", "a=b", "a=1,2", "cbp.x=1",
         "step-size=1,a", "cbp", "cbp+l2", "cbp+cbp", ",", "+", "adam", "--", "-", "--help-me", "[1]", "{", "1000000",
         "99999999999", "cuda:99", "tpu", "paper", "tiny", "huge")  # fmt: skip
OPTIONS = ("--runs", "--seed", "--scale", "--method", "--grid", "--device", "--strategy", "--threads", "--out",
           "--data-dir", "--config", "--tasks", "--hidden", "--step-size", "--optimizer", "--activation", "--inputs",
           "--cbp.replacement-rate", "--optimizer.eps", "--compile", "--no-compile", "--bin-size", "--nonsense",
           "--task-length", "--probe-size", "--batch-size", "--features", "--held-bits")  # fmt: skip
OTHERS: dict[str, tuple[str, ...]] = {
    "resume": ("--device", "--data-dir", "--compile"),
    "report": (),
    "archive": ("--to",),
    "figure": ("--out", "--scale"),
    "claims": ("--out", "--leaderboard"),
    "watch": ("--agent", "--seed", "--out", "--size", "--steps", "--friction"),
    "list": (),
}


def lines(chance: random.Random) -> Iterator[Attempt]:
    """A command with options and values; `run` is only resolved, or runs for a moment."""
    benchmarks = [*registry.BENCHMARKS, "", "nothing", "-x", "slowly-changing-regression-v9"]
    while True:
        if chance.random() < 0.75:
            words = ["run", chance.choice(benchmarks)]
            for _ in range(chance.randint(1, 3)):
                option = chance.choice(OPTIONS)
                some = LIKELY.get(option.removeprefix("--"), TEXTS) if chance.random() < 0.6 else TEXTS
                words += [option, chance.choice(some)][: chance.choice((1, 2, 2, 2, 2, 2, 2))]
            if chance.random() < 0.1:
                words[1] = "slowly-changing-regression"
                short = ["--scale", "tiny", "--tasks", "1", "--task-length", "20", "--bin-size", "20", "--no-compile"]
                words += [*short, "--runs", "1", "--measure-every", "20"]
            else:
                words.append("--dry-run")
        else:
            command = chance.choice([*OTHERS, "nothing", ""])
            words = [command, chance.choice([*TEXTS, "."])]
            for _ in range(chance.randint(0, 2)):
                words += [chance.choice((*OTHERS.get(command, ()), "--nonsense")), chance.choice(TEXTS)]
        yield repr([word[:60] for word in words]), lambda words=words: _elsewhere(words)


def _elsewhere(words: list[str]) -> str:
    """Run a command in an empty folder, which is also the home."""
    import os

    home = os.environ.get("HOME", "")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ["HOME"] = folder
        try:
            return _command([word for word in words if word not in ("/", "/proc/none")])
        finally:
            os.environ["HOME"] = home


def _command(words: list[str]) -> str:
    """What is wrong with how a command was answered; raises what the command raises."""
    assert words[0] in (*COMMANDS, "nothing", "")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:  # tyro's refusals, and its help
            status = ended.code
    if status == 2 and not (out.getvalue() + err.getvalue()).strip():
        return "refused without a word"
    if status == 2:
        raise NeotenyError(err.getvalue()[:2_000])
    return "" if status in (0, None) else f"exit status {status}"


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except ValueError:
        return "10**5000"


KINDS: dict[str, Callable[[random.Random], Iterator[Attempt]]] = {
    "made-up command lines": lines,
    "made-up YAML files": files,
    "made-up Python settings": settings,
}
"""Each kind, as a generator of inputs: what to show, and a function that tries it and gives what is wrong."""
