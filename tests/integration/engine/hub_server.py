"""A small Hub on loopback: repositories with files and doors, over the paths that the Hub's client asks.

It answers what the client needs to list and load files, and remembers what it gave out. It is no test of the
client; it is there so that the launcher's download phase runs the client's real code.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """Files by name; `door` is the error code that strangers get, as the Hub spells it."""

    files: dict[str, bytes]
    door: str | None = None
    revision: str = "main"


@dataclass
class Hub:
    """The server's state. `broken` is a status that everything is answered with."""

    repositories: dict[str, Repository]
    broken: int | None = None
    token: str | None = None
    given: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Serve in the background; `address` is the value for HF_ENDPOINT."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def refuse(self, status: int, code: str | None = None) -> None:
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                    self.send_header("X-Error-Message", f"{code} says the server")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def answer(self, body: bytes, send: bool, **headers: str) -> None:
                self.send_response(200)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if send:
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.serve(send=False)

            def do_GET(self) -> None:
                self.serve(send=True)

            def serve(self, send: bool) -> None:
                words = self.path.split("?")[0].strip("/").split("/")
                api = words[:2] == ["api", "models"]
                name = "/".join(words[2:4] if api else words[:2])
                repository = hub.repositories.get(name)
                if hub.broken:
                    self.refuse(hub.broken)
                elif repository is None:
                    self.refuse(404, "RepoNotFound")
                elif repository.door and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    self.refuse(401 if repository.door == "RepoNotFound" else 403, repository.door)
                elif words[5 if api else 3] not in (repository.revision, SHA):
                    self.refuse(404, "RevisionNotFound")
                elif api and words[4] == "tree":
                    tree = [
                        {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                        for n, c in repository.files.items()
                    ]
                    self.answer(json.dumps(tree).encode(), send)
                elif api:
                    siblings = [{"rfilename": n, "size": len(c)} for n, c in repository.files.items()]
                    self.answer(json.dumps({"id": name, "sha": SHA, "siblings": siblings}).encode(), send)
                elif (file := "/".join(words[4:])) in repository.files:
                    content = repository.files[file]
                    if send:
                        hub.given.append(file)
                    etag = hashlib.sha1(content).hexdigest()
                    self.answer(content, send, ETag=f'"{etag}"', X_Repo_Commit=SHA)
                else:
                    self.refuse(404, "EntryNotFound")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
