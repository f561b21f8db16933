"""Sphinx's settings. Pages on methods and benchmarks and the reference are generated from the package."""

import sys
from pathlib import Path

import neoteny

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402

project = "neoteny"
author = "The neoteny authors"
copyright = f"2026, {author}"
version = release = neoteny.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["evidence/*.remarks.md", "_build", "evidence/**/README.md"]
myst_heading_anchors = 2

html_theme = "furo"
html_title = f"neoteny {version}"

pages.write(HERE / "generated")
