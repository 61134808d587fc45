"""A server on this machine that answers as the Hugging Face hub does, with files from a folder."""

import contextlib
import hashlib
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "owner/name"


class Hub(ThreadingHTTPServer):
    """`files` by path; `sums` has the checksums that are not those of the files; `sent` is what was
    read: path, first byte, end.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files, self.sums, self.sent = files, {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entry(self, path):
        content = self.files[path]
        digest = self.sums.get(path, hashlib.sha256(content).hexdigest())
        lfs = {"oid": digest, "size": len(content), "pointerSize": 130}
        return {"type": "file", "path": path, "size": len(content), "oid": digest[:40], "lfs": lfs}


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{COMMIT}/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            self.answer({"id": REPO, "sha": COMMIT, "siblings": []})
        elif path == f"{api}/tree/{COMMIT}" or path.startswith(f"{api}/tree/{COMMIT}/"):
            inside = path.removeprefix(f"{api}/tree/{COMMIT}").lstrip("/")
            below = f"{inside}/" if inside else ""
            names = [name for name in self.server.files if name.startswith(below)]
            self.answer([self.server.entry(name) for name in names])
        elif path.startswith(files) and path.removeprefix(files) in self.server.files:
            self.send(self.server.files[path.removeprefix(files)], path.removeprefix(files))
        elif path.startswith(f"{api}/"):
            self.missing("RevisionNotFound")
        else:
            self.missing("RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers["Content-Type"] == "application/json":
            names = json.loads(body)["paths"]
        else:
            names = urllib.parse.parse_qs(body)["paths"]
        known = [name for name in names if name in self.server.files]
        self.answer([self.server.entry(name) for name in known])

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def missing(self, code):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"{code}: nothing here")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, content, name):
        first, end = 0, len(content)
        if (span := self.headers.get("Range", "")).startswith("bytes="):
            begin, _, last = span.removeprefix("bytes=").partition("-")
            first, end = int(begin), min(int(last) + 1 if last else end, end)
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{self.server.entry(name)["lfs"]["oid"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if self.command == "GET":
            self.server.sent.append((name, first, end))
            self.wfile.write(content[first:end])


@contextlib.contextmanager
def serving(files):
    """A hub with these files, by path."""
    with Hub(files) as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
