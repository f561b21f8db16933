"""A server of files on this machine that can be told to behave as servers on the internet do."""

from __future__ import annotations

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neoteny.data.download import Remote


class Server:
    """Serves `contents` by name.

    Set `ranges` to False for a server that knows none, `breaks` to a number of bytes after which connections break,
    `lengths` to False for one that does not say how long its answers are. `asked` logs (name, Range header).
    """

    def __init__(self):
        self.contents: dict[str, bytes] = {}
        self.ranges, self.lengths, self.breaks = True, True, None
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name, asked = self.path.lstrip("/"), self.headers.get("Range")
                server.asked.append((name, asked))
                content = server.contents.get(name)
                if content is None:
                    return self.send_error(404)
                begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
                if begin >= len(content) > 0:
                    return self.send_error(416)
                self.send_response(206 if begin else 200)
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                if server.lengths:
                    self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                self.wfile.write(content[begin:][: server.breaks])

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def offer(self, name: str, content: bytes) -> Remote:
        """Serve a file from now on."""
        self.contents[name] = content
        return Remote(name, (f"{self.url}/{name}",), hashlib.sha256(content).hexdigest(), len(content))

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the test's own, and no data directory."""
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data sets, before a test takes its name out of the environment."""
    folder = os.environ.get("NEOTENY_DATA")
    if not folder or not all((Path(folder) / name).is_dir() for name in ("cifar-100-python", "imagenet32/classes")):
        pytest.skip("needs real images: set NEOTENY_DATA to a folder with cifar-100-python/ and imagenet32/classes/")
    return Path(folder)
