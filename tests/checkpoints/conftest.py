"""A hub of our own on 127.0.0.1: the few answers that huggingface_hub asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest


class FakeHub(ThreadingHTTPServer):
    """Serves `files` (name -> bytes) as the model `id` at `commit`.

    asked      (method, path, Range header) of every request
    cut        name -> after how many bytes of this file the connection breaks; who comes back for the rest gets nothing
    claimed    name -> SHA-256 to claim instead of the true one
    revisions  name -> commit, of branches other than main
    files_at   commit -> its files, where they are others than `files`
    """

    daemon_threads = True

    def __init__(self, id: str = "org/model", commit: str = "c0ffee") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.id, self.commit = id, commit
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.cut: dict[str, int] = {}
        self.claimed: dict[str, str] = {}
        self.revisions: dict[str, str] = {}
        self.files_at: dict[str, dict[str, bytes]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def serve(self, folder: Path) -> None:
        """Take over the files of a folder."""
        self.files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def downloaded(self) -> list[str]:
        return [path.rpartition("/")[2] for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        api, resolve = f"/api/models/{hub.id}/revision/", f"/{hub.id}/resolve/"
        commits = {"main": hub.commit, hub.commit: hub.commit, **hub.revisions}
        if self.path.startswith(api):
            revision = unquote(self.path.removeprefix(api).partition("?")[0])
            if revision not in commits:
                return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
            return self._send(200, {"Content-Type": "application/json"}, self._info(commits[revision]))
        commit, _, name = self.path.removeprefix(resolve).partition("/")
        if self.path.startswith(resolve) and commit in commits.values() and name in hub.files_at.get(commit, hub.files):
            return self._file(commit, name)
        return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}")

    def _info(self, commit: str) -> bytes:
        hub = self.server
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "lfs": {
                    "sha256": hub.claimed.get(name, hashlib.sha256(content).hexdigest()),
                    "size": len(content),
                    "pointerSize": 134,
                },
            }
            for name, content in hub.files_at.get(commit, hub.files).items()
        ]
        info = {"id": hub.id, "modelId": hub.id, "sha": commit, "siblings": siblings, "tags": [], "private": False}
        return json.dumps(info).encode()

    def _file(self, commit: str, name: str) -> None:
        hub = self.server
        content, status = hub.files_at.get(commit, hub.files)[name], 200
        headers = {"Accept-Ranges": "bytes", "X-Repo-Commit": commit}
        headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        wanted = self.headers.get("Range")
        limit = hub.cut.get(name)
        if wanted:
            limit = None if limit is None else 0
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        self._send(status, headers, content, limit)

    def _send(self, status: int, headers: dict[str, str], body: bytes, limit: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:limit])
        if limit is not None and limit < len(body):
            self.wfile.flush()
            self.close_connection = True


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A running FakeHub that huggingface_hub takes for the real one; what is pulled goes below tmp_path/weights."""
    from huggingface_hub import constants

    with FakeHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("MINITL_WEIGHTS", str(tmp_path / "weights"))
        yield server
        server.shutdown()
        thread.join()
