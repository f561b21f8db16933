"""Sphinx's settings. Pages on methods and benchmarks and the reference are generated from the package."""

import os
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

extensions = ["myst_nb"]  # Markdown, and the tutorials: notebooks as text, run when the pages are built
exclude_patterns = ["evidence/*.remarks.md", "_build", "evidence/**/README.md"]
myst_heading_anchors = 2
myst_enable_extensions = ["attrs_block", "colon_fence"]
nb_execution_mode = "cache"
nb_execution_timeout = 600  # seconds a cell: busy machines
nb_execution_in_temp = True  # what a tutorial writes is thrown away
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # what other packages say to this machine
add_module_names = False
suppress_warnings = ["ref.python"]  # annotations have short names, of which a few are of two classes

html_theme = "furo"
html_title = f"neoteny {version}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")  # search engines lead to the stable version
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["style.css"]

pages.write(HERE / "generated")
