"""Makes of a checkout what goes to PyPI: absolute links in the README, and the project's addresses.

    python .github/absolute.py https://github.com/OWNER/NAME v0.1.0

The address is that of the repository that releases, so it is written nowhere else.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def absolute(text: str, home: str, version: str) -> str:
    """A page whose links within the repository lead to a host; pictures to the files themselves.

    >>> absolute("![a](b.png) [c](d.md#e) [f](https://g)", "https://host", "v1")
    '![a](https://host/raw/v1/b.png) [c](https://host/blob/v1/d.md#e) [f](https://g)'
    """
    text = re.sub(r"(!\[[^]]*\]\(|<img src=\")(?!\w+:)", rf"\g<1>{home}/raw/{version}/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!\w+:)", rf"\g<1>{home}/blob/{version}/", text)


def addresses(home: str, version: str) -> str:
    """The table of addresses for `pyproject.toml`."""
    urls = {"Repository": home, "Documentation": f"{home}/tree/{version}/docs", "Issues": f"{home}/issues"}
    urls["Changelog"] = f"{home}/blob/{version}/CHANGELOG.md"
    return "\n[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items())


if __name__ == "__main__":
    readme, project = Path("README.md"), Path("pyproject.toml")
    readme.write_text(absolute(readme.read_text(encoding="utf-8"), *sys.argv[1:3]), encoding="utf-8")
    project.write_text(project.read_text(encoding="utf-8") + addresses(*sys.argv[1:3]), encoding="utf-8")
