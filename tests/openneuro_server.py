"""A server of a folder that answers as OpenNeuro does: a list of files by GraphQL, files in ranges."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLIENT = """
import os
if server := os.environ.get("TEST_OPENNEURO"):
    try:
        import openneuro._download as client
    except ImportError:
        pass
    else:
        client.gql_url = server
"""
"""Content of a sitecustomize.py that points the client to this server: it has no option for it."""


class Server:
    """A server's address, the requests of files it had, and a file it breaks off once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests = folder, []
        self.broken: str | None = None
        self.address = ""

    @property
    def api(self) -> str:
        return f"{self.address}/crn/graphql"

    def files(self) -> list[dict]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = [str(path.relative_to(self.folder)) for path in found]
        return [
            {
                "id": name,
                "filename": name,
                "size": (self.folder / name).stat().st_size,
                "directory": False,
                "urls": [f"{self.address}/files/{name}"],
            }
            for name in names
        ]


@contextmanager
def serving(folder: Path, dataset: str = "ds003382") -> Iterator[Server]:
    """Serve a folder as a dataset of that name within the block."""
    server = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # noqa: N802
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
            snapshot = {"id": f"{dataset}:1.5.0", "files": server.files()}
            known = dataset in query
            content = {"data": {"dataset": {"latestSnapshot": snapshot} if known else None}}
            self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def do_HEAD(self):  # noqa: N802
            self._file(body=False)

        def do_GET(self):  # noqa: N802
            self._file(body=True)

        def _file(self, body: bool) -> None:
            name = self.path.removeprefix("/files/")
            content = (folder / name).read_bytes()
            headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"', "Accept-Ranges": "bytes"}
            first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            if body:
                server.requests.append((name, first))
            status = 206 if first else 200
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            if body and server.broken == name:
                server.broken = None
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.connection.close()
                return
            self._answer(status, content[first:] if body else b"", headers, None if body else len(content))

        def _answer(self, status: int, body: bytes, headers: dict, length: int | None = None) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
