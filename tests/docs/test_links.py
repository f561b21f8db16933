"""Pages outside the documentation: their links lead somewhere, here and on PyPI."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from neoteny.registry import BENCHMARKS, METHODS, OPTIMIZERS

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/own_method/README.md", "docs/evidence/README.md"]

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="the source distribution has no pages")


def links(text: str) -> list[str]:
    """The targets of links and pictures, without code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [one or other for one, other in re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", text)]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_what_pages_count_is_what_there_is(page: str):
    text = (ROOT / page).read_text(encoding="utf-8")
    tables = {"benchmarks": BENCHMARKS, "methods": METHODS, "optimizers": OPTIMIZERS}
    said = re.findall(rf"(\d+) ({'|'.join(tables)})", text)
    assert said and said == [(str(len(tables[kind])), kind) for _, kind in said]


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_to_files(page: str):
    path = ROOT / page
    own = [link.partition("#")[0] for link in links(path.read_text(encoding="utf-8")) if not re.match(r"\w+:|#", link)]
    assert [link for link in own if not (path.parent / link).exists()] == []


def test_on_pypi_every_link_of_the_readme_is_absolute():
    spec = importlib.util.spec_from_file_location("absolute", ROOT / ".github" / "absolute.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    made = script.absolute(text, "https://host/it", "v1")
    assert links(text) and all(link.startswith("https://") for link in links(made))
    assert made.count("https://host/it/raw/v1/") == 2 and len(links(made)) == len(links(text))
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8") + script.addresses("https://host/it", "v1")
    assert tomllib.loads(settings)["project"]["urls"]["Changelog"] == "https://host/it/blob/v1/CHANGELOG.md"
