"""Where little is there: no compiler, no home folder."""

from __future__ import annotations

import os
import subprocess
import sys


def test_it_runs_where_nothing_can_be_written_at_home_and_nothing_be_compiled(tmp_path):
    """A home folder that cannot be written to, and no compiler to be found: results come, with one warning."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "CXX"))},
        "HOME": os.path.join(os.devnull, "home"),
        "PATH": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
    }
    command = [sys.executable, "-m", "neoteny", "run", "slowly-changing-regression", "--scale", "tiny", "--runs", "1"]
    done = subprocess.run(
        [*command, "--method", "cbp", "--compile", "--out", str(tmp_path / "runs")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no C++ compiler was found") == 1
    assert "cbp" in done.stdout
