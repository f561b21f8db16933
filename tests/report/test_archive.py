from __future__ import annotations

import json
from pathlib import Path

import pytest

from neoteny.errors import RunFolderError
from neoteny.report import load
from neoteny.report.figures.paper import draw
from neoteny.report.papers import figure
from neoteny.report.runs.archive import archive, public_command, public_provenance
from report import made_up


def run(path: Path, system: str = "cbp", **more: object) -> Path:
    made_up.write(path / system, made_up.config(system, 3), made_up.metrics(system, 3, 10))
    facts = json.loads((path / system / "provenance.json").read_text())
    facts |= {
        "command": "/home/me/v/bin/neoteny run x --data-dir /data/me --out /tmp/runs",
        "execution": {"a": 1},
        **more,
    }
    (path / system / "provenance.json").write_text(json.dumps(facts))
    (path / system / "checkpoint.pt").write_bytes(b"large")
    return path / system


def test_a_slim_copy_has_all_that_figures_need_and_nothing_private(tmp_path: Path):
    folders = [run(tmp_path / "runs", name) for name in made_up.SYSTEMS]
    copies = archive(folders, tmp_path / "slim")
    assert copies[0] == tmp_path / "slim" / "slowly-changing-regression-v1" / "linear"
    assert {path.name for path in copies[0].iterdir()} == {"config.yaml", "metrics.parquet", "provenance.json"}
    kept = json.loads((copies[0] / "provenance.json").read_text())
    assert set(kept) == {"versions", "cpu", "git_commit", "seconds", "command"}
    assert kept["command"] == "neoteny run x"
    assert not any(word in (copies[0] / "provenance.json").read_text() for word in ("/home", "/data", "/tmp", "Linux"))
    slim, full = load(tmp_path / "slim"), load(tmp_path / "runs")
    assert [one.label for one in slim[0].series] == [one.label for one in full[0].series]
    assert slim[0].series[0].frame.equals(full[0].series[0].frame)
    draw(figure("regression-systems"), slim)
    assert archive(folders, tmp_path / "slim") == copies  # equal copies stay


def test_what_cannot_be_archived(tmp_path: Path):
    good = run(tmp_path / "runs")
    with pytest.raises(RunFolderError, match=r"no config\.yaml"):
        archive([good, tmp_path / "runs"], tmp_path / "slim")
    going = run(tmp_path / "runs", "backprop")
    frame = going / "metrics.parquet"
    (going / "metrics").mkdir()
    frame.rename(going / "metrics" / "part-00001.parquet")
    with pytest.raises(RunFolderError, match="backprop is not finished"):
        archive([good, going], tmp_path / "slim")
    assert not (tmp_path / "slim").exists()  # all or nothing
    archive([good], tmp_path / "slim")
    made_up.write(good, made_up.config("cbp", 3), made_up.metrics("cbp", 3, 12))
    with pytest.raises(RunFolderError, match="holds another run"):
        archive([good], tmp_path / "slim")
    inside = run(tmp_path / "runs" / made_up.config("cbp", 3)["benchmark"])
    before = (inside / "provenance.json").read_bytes()
    with pytest.raises(RunFolderError, match="replaced by its own copy"):
        archive([inside], tmp_path / "runs")
    assert (inside / "provenance.json").read_bytes() == before
    other = run(tmp_path / "more", "cbp")
    with pytest.raises(RunFolderError, match="another folder"):
        archive([good, other], tmp_path / "both")


@pytest.mark.parametrize(
    ("command", "public"),
    [
        ("/a/b/neoteny run x", "neoteny run x"),
        ("neoteny run x --data_dir=/d --runs 3", "neoteny run x --runs 3"),
        ("neoteny run x --grid a=0.1,0.2 --out ../there --resume", "neoteny run x --grid a=0.1,0.2 --resume"),
        (r"'C:\me\neoteny.exe' run x --config 'a b.yaml'", "neoteny.exe run x"),
        ("python /home/me/script.py --data=/home/me/x", "python script.py --data=x"),
        ("neoteny run 'open", "neoteny run ''\"'\"'open'"),
    ],
)  # fmt: skip
def test_commands_lose_their_places(command: str, public: str):
    assert public_command(command) == public
    assert public_command(public) == public


def test_where_the_data_came_from_is_kept_without_its_folder():
    facts = {
        "platform": "Linux",
        "data": {"source": "60 classes of 550 images", "file": "/home/me/a.npy", "classes": 60},
    }
    assert public_provenance(facts) == {"data": {"source": "60 classes of 550 images", "file": "a.npy", "classes": 60}}
