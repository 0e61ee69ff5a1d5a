"""What a model is called, or what people paste: its host, its name and its revision."""

import re
from urllib.parse import unquote

from huggingface_hub import constants

HUB = "https://huggingface.co"
MAX_NAME = 96  # characters, on the Hub; much longer, it would be no name for a folder
NAME, REVISION = r"[\w-][\w.-]*", r"(?:refs/\w+/)?[^/]+"
PAGE = (  # of a model: a prefix, the name, and @revision or what follows the name on its pages
    rf"((?:[\w.~%+-]+/)*?)({NAME}(?:/{NAME})?)"
    rf"(?:@(.+)|/(?:tree|blob|resolve|raw|blame|edit|commits?)(?:/({REVISION})(?:/.*)?)?"
    r"|/(?:discussions|settings)(?:/.*)?)?"
)
UNSEEN = [*range(0x2000, 0x2010), *range(0x2028, 0x2030), *range(0x205F, 0x2070)]
# What is copied along with a name.
AROUND = "".join(map(chr, UNSEEN)) + " \t\r\n\v\f\u00a0\u00ad\ufeff\"'`“”‘’«»<>,;"
SAME = (  # in this order: what is written so, means that
    (r"(?:git clone|(?:hf|huggingface-cli) download|ollama (?:run|pull)) +(\S+).*", r"\1"),
    (r"(?:ssh://)?git@((?:hf|huggingface)\.co)(?::\d+(?=/))?[:/](.+)", r"\1/\2"),
    (
        r"(?i:(?:https?://)?(?:www\.)?(?:hf|huggingface)\.co)(?:/(?:api/)?models(?=/.))?(|/.*)",
        rf"{HUB}\1",
    ),
    (rf"hf://(?:models/)?({NAME}/{NAME})(@{REVISION})?(?:/.*)?", r"\1\2"),
    (r"models--([\w.-]+?)--([\w.-]+)", r"\1/\2"),  # a folder of the Hub's own library
    (r"(.+/.+?)(?:\.git)?/*", r"\1"),
)
GIVE = "give org/name, the http(s) URL of its page, or a folder"
REFUSED = (  # the first that fits
    (r"(?:.*/)?(?:datasets|spaces)/.*", f"it is a dataset or a Space; {GIVE}"),
    (r"(?!https?:)\w+://.*|[\w.-]+@[\w.-]+:.*", f"only http(s) addresses are read; {GIVE}"),
    (
        r"\w+://[^/]*@.*",
        "leave user name and password out of the address; a token goes in HF_TOKEN",
    ),
    (r"hf_[A-Za-z0-9]{24,}", "it looks like a token, which goes in HF_TOKEN and never in a cell"),
    (
        rf"{HUB}/(?:models|docs|blog|papers|collections|organizations|settings|tasks|kernels)\b.*",
        f"that page is about something else; {GIVE}",
    ),
    (
        rf"(?:https?://.+/)?{NAME}/{NAME}:.*|.*@",
        "a branch, tag or commit comes behind @, as in org/name@main",
    ),
    (rf"{NAME}/+", "behind the slash comes the name of the model"),
    (rf"(?:{NAME}/)?{NAME}\.safetensors", f"there is no such file; {GIVE}"),
    (r"[\w-]+(?:\.[\w-]+|:\d)[\w.:-]*/.+/.+", "an address begins with https://"),
)


def clean(source):
    """A name without the spaces, quotes and full stop around it; TypeError if it is no text."""
    if not isinstance(source, str):
        what = "None" if source is None else f"a thing of type {type(source).__name__}"
        raise TypeError(f"{what} is no model: {GIVE}")
    return re.sub(rf"(?<=\w)[.{AROUND}]+$", "", source.strip(AROUND))


def parse(source):
    """(endpoint, name, revision) of a model's name, or of the URL of its page or of its files.

    Raises ValueError if it is neither, TypeError if it is no text.

    >>> parse("https://huggingface.co/org/name/tree/v1.0")
    ('https://huggingface.co', 'org/name', 'v1.0')
    >>> parse("org/name@refs/pr/1")[1:]
    ('org/name', 'refs/pr/1')
    >>> parse("https://host/prefix/org/name.git")
    ('https://host/prefix', 'org/name', 'main')
    """
    text = clean(source)
    for pattern, meaning in SAME:
        if same := re.fullmatch(pattern, text, re.DOTALL):
            text = same.expand(meaning)
    why = next((x for pattern, x in REFUSED if re.fullmatch(pattern, text, re.DOTALL)), "")
    url = re.fullmatch(r"(https?://[\w.-]+(?::\d+)?)/([^?#]*)(?:[?#].*)?", text)
    host, path = url.groups() if url else (constants.ENDPOINT, text)
    found = re.fullmatch(PAGE, path.rstrip("/"))
    if found and max(map(len, found[2].split("/"))) > MAX_NAME:
        why = why or f"a name has at most {MAX_NAME} characters"
    if why or not found or (found[1] and (not url or host == HUB)):
        odd = re.search(r"[^\w./:@%-]", text)
        why = why or (f"{odd[0]!r} has no place in a name; {GIVE}" if odd else GIVE)
        raise ValueError(f"{shown(clean(source))} is no model: {why}")
    if not re.match("https?://.", host):
        raise ValueError(f"HF_ENDPOINT is {shown(host)}: an address begins with https://")
    prefix = found[1].rstrip("/")
    return f"{host}/{prefix}".rstrip("/"), found[2], unquote(found[3] or found[4] or "main")


def shown(text):
    """Text as a message may repeat it: no password, no token, not much of it.

    >>> shown("https://me:secret@host/org/name"), shown("org/name?token=x")
    ('this', "'org/name'")
    """
    if re.search(r":.*@|hf_\w{20}", text, re.DOTALL):
        return "this"
    text = re.split("[?#]", text)[0]
    return repr(text if len(text) < 80 else text[:77] + "…")
