"""`bench/gpu.py` and `bench/cost.py`: parts work at a tiny size on a CPU, and pages say what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import cost
import gpu
from sections import Row


@pytest.mark.parametrize("name", [name for name in gpu.PARTS if name != "tests"])
def test_every_part_measures(name, monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setattr("neoteny.data.imagenet32", None)  # put back at the end
    monkeypatch.setattr("neoteny.data.cifar100", None)
    rows = list(gpu.PARTS[name].load()("cpu", True))
    assert len({row.what for row in rows}) == len(rows) > 1
    for row in rows:
        assert row.value == "made-up images" if row.what == "images" else row.value > 0, row


def test_a_part_that_is_cut_off_or_fails_leaves_what_it_had():
    def process(code):
        return [sys.executable, "-c", code], heard.append

    heard: list[Row] = []
    row = f"print({json.dumps(json.dumps({'row': ['speed', 2.5, '>= 2']}))}, flush=True)"
    command, hear = process(f"{row}; import time; time.sleep(60)")
    assert gpu.attend(command, 3, hear) == "stopped after 3 seconds"
    command, hear = process(f"print('a remark'); {row}; raise SystemExit('no such device')")
    assert gpu.attend(command, 60, hear) == "failed: no such device"
    command, hear = process(row)
    assert gpu.attend(command, 60, hear) == ""
    assert heard == [Row("speed", 2.5, ">= 2")] * 3


def test_the_page_says_what_is_missing(monkeypatch, tmp_path, capsys):
    """Parts are measured in their order, and what an earlier page of the same machine has is kept."""

    def attend(command, limit, hear):
        limits.append(limit)
        hear(Row("updates a second", 1234.5))
        return "" if "sac" in command else "stopped after 40 seconds"

    limits: list[float] = []
    out = tmp_path / "gpu.md"
    monkeypatch.setattr(gpu, "attend", attend)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: 0.0))  # limits count from it
    for parts in ("sac", "ppo"):
        given = ["gpu.py", "--device", "cpu", "--quick", "--out", str(out), "--parts", parts, "--seconds", "40"]
        monkeypatch.setattr(sys, "argv", given)
        gpu.main()
    text = out.read_text("utf-8")
    assert limits == [40, 40]
    assert "Missing, whole or in part: imagenet, ppo, gpt, atari, cifar, tests." in text
    assert text.count("| updates a second | 1,234 |  |") == 2
    assert "stopped after 40 seconds. What is not in the table was not measured." in text
    assert "`make gpu ARGS='--parts atari'`" in text


def test_without_a_gpu_it_says_what_it_would_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    said = capsys.readouterr().out
    assert "nothing was measured" in said and all(part.about in said for part in gpu.PARTS.values())
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu"])
    with pytest.raises(SystemExit):
        gpu.main()


def test_costs_are_measured_steps_times_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "GPU", tmp_path / "gpu.json")
    works = {work.name.partition(":")[0]: work for work in cost.experiments()}
    assert works["Fig. 1c"].steps == 5 * 30 * 5_000 * 250 * 12 and works["Fig. 1c"].gpu is None
    assert works["Fig. 1c"].row().endswith("|  |  |")
    rows = {"30 runs as one stack: run-steps a second": [1e6, ""]}
    cost.GPU.write_text(json.dumps({"device": "a GPU", "parts": {"imagenet": {"rows": rows}}}), "utf-8")
    work = next(cost.experiments())
    assert work.row().endswith(f"| {2.25e9 / 1e6 / 3600:.3g} | {2.25e9 / 1e6 / 3600 / 8 / 24:.3g} |")
    page = tmp_path / "page.md"
    page.write_text("| case | ms |\n|---|---:|\n| a | 1 |\n\n| side | ms a step |\n|---|---:|\n| a | 2,500.5 us |\n")
    monkeypatch.setattr(cost, "EVIDENCE", tmp_path)
    assert cost.cell("page.md", "side", "a", "ms a step") == 2_500.5
    with pytest.raises(SystemExit, match=r"page\.md has no number for 'b'"):
        cost.cell("page.md", "side", "b", "ms a step")
