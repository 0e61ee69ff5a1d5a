"""A small Hub on this machine: a folder of models, org/name, served as huggingface.co serves them.

    python -m tests.hub_server FOLDER

Small files come from the Hub itself, .safetensors by a redirect from a second server on a port of
its own, the CDN, at an address with a signature and about as long as the real one, 1 kB. Both count
what they send; `faults` says what is to go wrong.
"""

import contextlib
import hashlib
import json
import math
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNED = (  # with every kind of character that real ones have
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Credential="
    "cas%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600"
    "&response-content-disposition=inline%3B+filename*%3DUTF-8%27%27m.safetensors%3B+filename%3D%22"
    f"m.safetensors%22%3B&x-id=GetObject&Policy={'eyJTdGF0ZW1lbnQiOlt7~-_' * 16}&Key-Pair-Id=K2L8F4"
)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path has `path` in it."""

    path: str
    times: int = 1
    method: str = "GET"
    status: int = 0
    headers: dict = field(default_factory=dict)
    cut: int | None = None  # bytes of body, then the connection is closed
    announced: bool = False  # the head says that the body is cut
    stall: int | None = None  # bytes of body, then silence
    ignore_range: bool = False
    content_range: str = ""
    extra: bytes = b""  # behind the body


@dataclass
class Hub:
    """The state of the servers; `url` is the Hub's, `cdn` the other's."""

    folder: Path
    commits: dict = field(default_factory=dict)  # (org/name, revision) → commit
    gated: dict = field(default_factory=dict)  # org/name → tokens that may read it
    renamed: dict = field(default_factory=dict)  # old name → org/name
    tokens: set = field(default_factory=set)  # valid tokens
    faults: list = field(default_factory=list)
    seen: list = field(default_factory=list)  # (server, method, path, headers)
    body_bytes: int = 0
    expires_after: float = math.inf  # requests that a signature is good for
    signatures: dict = field(default_factory=dict)  # signature → requests left
    url: str = ""
    cdn: str = ""
    extra_headers: dict = field(default_factory=dict)
    before_body: Callable = lambda: None  # called before a body is sent from the CDN
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)  # ends what stalls

    def gets(self, part="", server="hub"):
        """The GET requests that a server, "hub" or "cdn", has seen whose path has part in it."""
        return [x for x in self.seen if x[:2] == (server, "GET") and part in x[2].split("?")[0]]

    def sign(self):
        """A new signature for the CDN."""
        with self.lock:
            signature = secrets.token_hex(128)
            self.signatures[signature] = self.expires_after
        return signature

    def accepts(self, signature):
        """Whether a signature is still good; each time it is used counts."""
        with self.lock:
            left = self.signatures.get(signature, 0)
            self.signatures[signature] = left - 1
        return left > 0

    def fault(self, server, method, path):
        """The fault for this request, counted down."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path.split("?")[0]:
                    if server == "hub" and fault.path.endswith(".safetensors") and not fault.status:
                        continue  # bodies of weights come from the CDN
                    fault.times -= 1
                    return fault
        return None


class Server(ThreadingHTTPServer):
    """A server that makes no noise about clients that hang up, as tests have them do."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request to the Hub or to its CDN."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    hub = server_name = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        headers = {key.lower(): value for key, value in self.headers.items()}
        with self.hub.lock:
            self.hub.seen.append((self.server_name, self.command, self.path, headers))
        self.fault = self.hub.fault(self.server_name, self.command, self.path)
        url = urlsplit(self.path)
        if ".." in unquote(url.path):
            return self.error(404, "")
        if self.fault and self.fault.status:
            return self.send(self.fault.status, b"a fault of the server", self.fault.headers)
        if self.server_name == "cdn":
            if not self.hub.accepts(parse_qs(url.query).get("Signature", [""])[0]):
                return self.send(403, b"<Error><Code>AccessDenied</Code></Error>")
            path = self.hub.folder / unquote(url.path.removeprefix("/"))
            return self.send_file(path) if path.is_file() else self.error(404, "")
        if url.path == "/api/models":
            return self.send_names(parse_qs(url.query).get("search", [""])[0])
        if path := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision/[^/]+|refs))?", url.path):
            return self.send_model(path[1], path[2] or "")
        if path := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
            return self.resolve(path[1], unquote(path[2]), unquote(path[3]))
        return self.error(404, "")

    def resolve(self, name, revision, file):
        """A file of a model, or why not."""
        if name in self.hub.renamed:
            place = self.path.replace(name, self.hub.renamed[name], 1)
            return self.send(307, b"Temporary Redirect", {"Location": place})
        if self.refuses(name):
            return None
        commit = self.hub.commits.get((name, revision))
        if commit is None and revision in ("main", COMMIT, *self.hub.commits.values()):
            commit = COMMIT if revision == "main" else revision
        if commit is None:
            return self.error(404, "RevisionNotFound")
        folder = self.hub.folder / name
        path = folder / commit / file  # a commit may have a folder of its own
        path = path if path.is_file() else folder / file
        headers = {"X-Repo-Commit": commit}
        if not path.is_file():
            return self.error(404, "EntryNotFound", headers)
        etag = hashlib.sha256(str(path).encode()).hexdigest()
        if not file.endswith(".safetensors"):
            return self.send_file(path, headers | {"ETag": f'"{etag}"'})
        headers |= {"X-Linked-Size": str(path.stat().st_size), "X-Linked-Etag": f'"{etag}"'}
        place = quote(str(path.relative_to(self.hub.folder)))
        headers["Location"] = f"{self.hub.cdn}/{place}?{SIGNED}&Signature={self.hub.sign()}"
        return self.send(302, f"Found. Redirecting to {headers['Location']}".encode(), headers)

    def refuses(self, name):
        """Whether this request may not read a model; if so, it has been answered."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self.error(401, "", message)
        elif not (self.hub.folder / name).is_dir():
            self.error(404 if token else 401, "RepoNotFound")
        elif name in self.hub.gated and token not in self.hub.gated[name]:
            self.error(403 if token else 401, "GatedRepo")
        else:
            return False
        return True

    def send_names(self, search):
        names = [str(x.relative_to(self.hub.folder)) for x in sorted(self.hub.folder.glob("*/*"))]
        found = [{"id": x} for x in names if search.casefold() in x.casefold()]
        self.send(200, json.dumps(found).encode())

    def send_model(self, name, part):
        if self.refuses(name):
            return
        if part == "refs":
            branches = {"main"} | {
                revision for model, revision in self.hub.commits if model == name
            }
            answer = {"branches": [{"name": x, "ref": f"refs/heads/{x}"} for x in sorted(branches)]}
        else:
            files = sorted(x.name for x in (self.hub.folder / name).iterdir() if x.is_file())
            answer = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": x} for x in files]}
        self.send(200, json.dumps(answer).encode())

    def error(self, status, code, headers=None):
        headers = {"X-Error-Code": code} | (headers or {}) if code else headers
        self.send(status, json.dumps({"error": code or "no"}).encode(), headers)

    def send_file(self, path, headers=None):
        """A file, or the range of it that is asked for."""
        size, headers = path.stat().st_size, {"Accept-Ranges": "bytes"} | (headers or {})
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = 0, size - 1
        if wanted and not (self.fault and self.fault.ignore_range):
            first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
            if first >= size:
                return self.send(416, b"", {"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            if self.fault and self.fault.content_range:
                headers["Content-Range"] = self.fault.content_range
        status = 206 if "Content-Range" in headers else 200
        length = last + 1 - first + len(self.fault.extra if self.fault else b"")
        self.send_head(
            status, self.fault.cut if self.fault and self.fault.announced else length, headers
        )
        if self.command == "GET":
            if self.server_name == "cdn":
                self.hub.before_body()
            with path.open("rb") as file:
                file.seek(first)
                self.send_body(file, last + 1 - first)
        return None

    def send_body(self, file, n_bytes):
        """So many bytes of an open file, or what a fault leaves of them."""
        fault = self.fault or Fault("")
        stop = min(x for x in (fault.cut, fault.stall, n_bytes) if x is not None)
        sent = 0
        try:
            while sent < stop:
                data = file.read(min(2**16, stop - sent))
                self.write(data)
                sent += len(data)
            if fault.extra:
                self.write(fault.extra)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the reader has gone
            return
        if fault.stall is not None:
            self.wfile.flush()
            self.hub.released.wait(30)
        if stop < n_bytes:
            self.close_connection = True

    def send(self, status, body, headers=None):
        self.send_head(status, len(body), headers)
        if self.command == "GET":
            self.write(body)

    def send_head(self, status, length, headers):
        self.send_response(status)
        for key, value in ((headers or {}) | self.hub.extra_headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def write(self, data):
        with self.hub.lock:  # counted first: who has read them may look at once
            self.hub.body_bytes += len(data)
        self.wfile.write(data)


@contextlib.contextmanager
def serve(folder, port=0):
    """A `Hub` that serves a folder of models until the block ends."""
    hub, servers = Hub(Path(folder)), []
    try:
        for name, at in (("url", port), ("cdn", 0)):
            where = "hub" if name == "url" else "cdn"
            handler = type(where, (Handler,), {"hub": hub, "server_name": where})
            servers.append(Server(("127.0.0.1", at), handler))
            servers[-1].daemon_threads = True
            setattr(hub, name, f"http://127.0.0.1:{servers[-1].server_port}")
            threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        yield hub
    finally:
        hub.released.set()
        for server in servers:
            server.shutdown()
            server.server_close()


if __name__ == "__main__":
    with serve(sys.argv[1]) as running:
        print(running.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)
