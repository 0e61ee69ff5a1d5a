"""Bytes of a model on the Hugging Face Hub, over HTTP; if they do not come, what to do about it."""

import os
import re
import threading
from urllib.parse import urlsplit

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers

from course_utils import did_you_mean
from course_utils.checkpoints.connection import ELSEWHERE, OR, explain, refused, session
from course_utils.checkpoints.names import parse

TRIES, SILENT_TRIES = 5, 2  # of one range; of them in a row that bring nothing at all
TIMEOUT, WAIT, MAX_WAIT = 20, 1, 60  # seconds: without a byte, before the second try, at most
MAX_FILE = 100_000_000  # bytes of a file that is read as a whole
OFFLINE = "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"
BUSY = (408, 429, 500, 502, 503, 504)
LOGIN = "HF_TOKEN in the environment, `hf auth login` or a Colab secret HF_TOKEN, never in a cell"


class NoSuchFile(FileNotFoundError):
    """The model is there, but has no such file."""


class Again(Exception):
    """Why to ask again, after how many seconds, where (None: the Hub), what to do if it fails.

    The seconds are None if no answer came.
    """


class Hub:
    """A model on the Hub or a host like it, by what `names.parse` knows.

    `revision` is what addresses ask for, `commit` what the Hub last answered from. A token that
    this machine knows is sent to the Hub only, a given one to the host it was given for, and
    neither to where those redirect: `places`, addresses that are good for an hour or so.
    """

    def __init__(self, source, token=None):
        self.endpoint, self.name, self.revision = parse(source)
        self.site, self.commit = re.sub("(?<=//)[^/]*@", "", self.endpoint), ""
        self.host = urlsplit(self.site).netloc
        self.sizes, self.places = {}, {}  # file → its bytes; the address it was last sent from
        known = None if self.endpoint == constants.ENDPOINT else False  # None: look for one
        self.headers = build_hf_headers(token=token or known) | {"accept-encoding": "identity"}
        if not re.fullmatch("Bearer [!-~]+", self.headers.get("authorization", "Bearer -")):
            which = "the token" if token else "the token in HF_TOKEN, or of `hf auth login`,"
            raise ValueError(f"{which} is damaged: copy it again, without spaces or line breaks")
        self.n_requests, self.bytes_read, self.lock = 0, 0, threading.Lock()

    def stream(self, file, first=0, last=None, method="GET", stop=None):
        """The bytes first to last of a file, or all of it, as they come; cut short, it goes on.

        Raises ConnectionError, PermissionError or FileNotFoundError: one line, with the remedy.
        Ends early when `stop`, a threading.Event, is set. A HEAD that fails is followed by GET.
        """
        at, end, place = first, MAX_FILE if last is None else last + 1, self.places.get(file)
        silent, pause, stop = 0, 0, stop or threading.Event()
        for attempt in range(TRIES):
            if stop.wait(pause):
                return
            before = at
            try:
                for chunk in self.request(method, file, at, last, place):
                    at += len(chunk)
                    if at > end:
                        raise ConnectionError(f"{self.host} sends more of {file} than it should")
                    yield chunk
                    if stop.is_set():
                        return
                if last is None or at == end:
                    return
                raise Again(f"{self.host} sent less than it said", None, None, ELSEWHERE)
            except Again as again:
                (why, pause, place, remedy), method = again.args, "GET"
            silent = silent + 1 if pause is None and at == before else 0
            if silent == SILENT_TRIES:
                raise ConnectionError(f"{why}: {remedy}, {OR}")
            pause = max(pause or 0, WAIT * 2**attempt)
            if pause > MAX_WAIT:
                raise ConnectionError(f"{why}: run it again in {pause} s, {OR}")
        raise ConnectionError(f"{why}, {TRIES} times: run it again later, {OR}")

    def request(self, method, file, at, last, place):
        """What one request brings of a file; Again if another may bring the rest."""
        url = place or hf_hub_url(self.name, file, revision=self.revision, endpoint=self.endpoint)
        headers = dict(self.headers)
        if place:  # it is no business of that host who we are
            headers.pop("authorization", None)
        if at > 0 or last is not None:
            headers["range"] = f"bytes={at}-{'' if last is None else last}"
        self.count(n_requests=1)
        answer = None
        try:
            with session().stream(method, url, headers=headers, timeout=TIMEOUT) as answer:
                self.check_answer(answer, file, place)
                if "range" in headers:
                    self.check_range(answer, file, at, last)
                for chunk in answer.iter_raw():
                    self.count(len(chunk))
                    yield chunk
        except OfflineModeIsEnabled:
            variables = [x for x in OFFLINE if os.environ.get(x)] or OFFLINE  # the first one counts
            raise ConnectionError(f"{variables[0]} is set: unset it, {OR}") from None
        except HTTPError as error:
            broken = f"{self.host} broke off ({type(error).__name__})", ELSEWHERE
            why, remedy = broken if answer else explain(error)
            raise Again(why, None, None, remedy) from None

    def count(self, n_bytes=0, n_requests=0):
        with self.lock:
            self.bytes_read += n_bytes
            self.n_requests += n_requests

    def check_answer(self, answer, file, place):
        """Note where an answer came from; raise what its status means, Again if it may change."""
        chain, status = [*answer.history, answer], answer.status_code  # redirects answer as well
        if status < 400 and (why := refused(answer)):
            raise ConnectionError(f"{why}, {OR}")
        self.count(sum(x.num_bytes_downloaded for x in answer.history), len(answer.history))
        commits = [x.headers.get("x-repo-commit") for x in chain]
        self.commit = next(filter(None, commits), self.commit)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise ConnectionError(f"{self.host} sends {file} compressed: run it again later, {OR}")
        if status < 400 and answer.url.netloc != chain[0].url.netloc:
            self.places[file] = answer.url
        if status >= 400 and int(answer.headers.get("content-length", MAX_FILE)) < 2**16:
            self.count(len(answer.read()))  # it is no file, but it came
        if status in BUSY:
            rate = parse_ratelimit_headers(answer.headers)  # the Hub's own way to say Retry-After
            pause = str(rate.reset_in_seconds) if rate and rate.remaining == 0 else ""
            pause = answer.headers.get("retry-after", pause)
            pause = int(pause) if pause.isdigit() else 0
            raise Again(f"{self.host} answered {status}", pause, place, "")
        if status in (405, 501) and answer.request.method == "HEAD":
            raise Again(f"{self.host} answered {status}", 0, place, "")
        if status >= 400:
            expired = Again(f"{self.host} sent us to an address that has expired", 0, None, "")
            raise expired if place else self.refusal(answer, file)

    def check_range(self, answer, file, at, last):
        """Raise ConnectionError or ValueError unless an answer is the range that was asked for."""
        if answer.status_code != 206:
            size = answer.headers.get("content-length", "all the")
            raise ConnectionError(
                f"{self.host} cannot send a part of a file; it would send {size} bytes of {file}: "
                f"take the model from https://huggingface.co, {OR}"
            )
        said = answer.headers.get("content-range", "nothing")
        parts = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said)
        begin, end, size = map(int, parts.groups()) if parts else (-1, -1, -1)
        if last is not None and 0 <= size <= last:
            raise ValueError(f"{file} is broken: it ends before byte {last}, after {size} bytes")
        wanted = at, size - 1 if last is None else last, self.sizes.get(file, size)
        if not parts or (begin, end, size) != wanted:
            raise ConnectionError(f"{self.host} sends {said} for bytes {at} to {last} of {file}")
        self.sizes[file] = size

    def refusal(self, answer, file):
        """The error that a status of 400 or more means."""
        status, code = answer.status_code, answer.headers.get("x-error-code")
        page, token = f"{self.site}/{self.name}", "authorization" in self.headers
        said = answer.headers.get("x-error-message", "")
        if why := refused(answer):
            return ConnectionError(f"{why}, {OR}")
        if status == 416:
            return ValueError(f"{file} is broken: it has none of the bytes that are needed")
        if code == "EntryNotFound":
            return NoSuchFile(f"no {file} in {self.name}")
        if code == "RevisionNotFound":
            near = ", ".join(self.ask(f"models/{self.name}/refs", "name")[:9]) or "main"
            return FileNotFoundError(f"{self.name} has no {self.revision!r}; there is {near}")
        if code == "GatedRepo":
            who = "gated, and not yet open to your token" if token else "gated"
            how = "and wait until it is granted" if token else f"then give your token by {LOGIN}"
            return PermissionError(f"{self.name} is {who}: ask for access at {page}, {how}")
        if status in (401, 403) and token and code != "RepoNotFound" and not answer.history:
            return PermissionError(
                f"{self.host} does not accept your token ({status}): "
                f"{f'{said} ' * (status == 403)}make a new one at "
                f"{self.site}/settings/tokens, and give it by {LOGIN}"
            )
        if code == "RepoNotFound" or (status in (401, 404) and not answer.history):
            word = re.split(r"[-_.]", self.name.split("/")[-1])[0]
            found = [y for x in (word, word[:3]) for y in self.ask(f"models?search={x}", "id")]
            hint = did_you_mean(self.name, found, "look for its name in the list of models")
            return FileNotFoundError(f"no model {self.name} on {self.host}; {hint}")
        what = f"{answer.url.host} answered {status}{f' ({said})' if said else ''}"
        remedy = "the law forbids it, try another model" if status == 451 else "run it again later"
        return ConnectionError(f"{what}: {remedy}, {OR}")

    def ask(self, path, key):
        """The texts under a key in what the Hub's API says; none if it does not answer."""
        try:
            url = f"{self.endpoint}/api/{path}"
            answer = session().get(url, headers=self.headers, timeout=TIMEOUT)
        except (HTTPError, OSError):  # it only helps a message, which is about something else
            return []
        self.count(answer.num_bytes_downloaded, 1 + len(answer.history))
        return re.findall(rf'"{key}"\s*:\s*"([^"\n]*)"', answer.text)
