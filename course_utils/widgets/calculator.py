"""The bill of a KV cache, worked out in the browser whatever the kernel is doing."""

import html
import json
import math
import re
from dataclasses import astuple, replace
from decimal import ROUND_HALF_UP, Decimal
from textwrap import shorten

import anywidget
import traitlets

from course_utils import checkpoints
from course_utils.attention import divisors
from course_utils.figures import as_shown
from course_utils.geometry import Geometry, from_config, models
from course_utils.geometry import model as named
from course_utils.widgets.formula import number
from course_utils.widgets.slider import OWN, one_of, source, table

N_TOKENS = {2**k for k in range(21)} | {100_000}
MEMORIES = [16, 24, 80, 141]  # GB
WEIGHTS = {"Llama-3 8B": 16.06}  # GB: 8,030,261,248 parameters of 2 bytes; of others not known
BYTES = {  # the scales are those of llama.cpp: 32 numbers share one of float16
    0.5: "0.5 · 4 bits",
    18 / 32: "18/32 · 4 bits with scales (q4_0)",
    1: "1 · 8 bits (fp8)",
    34 / 32: "34/32 · 8 bits with scales (q8_0)",
    2: "2 · half",
    4: "4 · float32",
}
SCALED = [18 / 32, 34 / 32]
PAGES = {"needed": "the last tokens only", "all": "all tokens, as the others do"}
UNWEIGHED = "How many users fit? Type the weights in GB: parameters · bytes (8 billion · 2 = 16)."
MOST_HEADS = 100_000  # query heads, of which the browser finds the divisors at each move


class Calculator(anywidget.AnyWidget):
    """A model and the sizes of its cache, {name: value} in `chosen`; beside them the bill.

    Choosing a model sets l, n, g, h and the weights; moving l, n, g or h makes it "your own", all
    layers the same. The others stay as they are, so that models can be compared; beside, unless it
    is "", is a second model of the list, whose bill stands beside the first. b sequences of s
    tokens, bytes an element; gpus share the heads; tokens come in blocks; pages "needed" or "all";
    source tokens for layers that keep what an encoder read.

    The browser has the formula, calculator.js; here are the same words for readers without it.

    >>> calculator = Calculator()
    >>> calculator.words()
    '1.07 GB = 1.00 GiB for 1 sequence of 8,192 tokens'
    >>> calculator.choose(g=4, b=2)
    >>> calculator.chosen["model"], calculator.words()
    ('your own', '1.07 GB = 1.00 GiB for 2 sequences of 8,192 tokens')
    """

    _esm = source("control.js", "combobox.js", "calculator.js")
    _css = source("slider.css", "calculator.css")
    controls = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    added = traitlets.List().tag(sync=True)  # models that are not in the table, as in facts
    asked = traitlets.Dict().tag(sync=True)  # {"number", "config" or "name"}: the browser's wish
    answer = traitlets.Dict().tag(sync=True)  # {"number", "name" or "error"}
    _ipython_display_ = None  # ipywidgets 7 would show the widget without its words

    def __init__(self):
        self.own_models = {}  # name → Geometry
        facts = {
            "own": OWN,
            "models": [fact(m) for m in models()],
            "weights": WEIGHTS,
            "memories": MEMORIES,
            "pages": PAGES,
            "scaled": SCALED,
        }
        super().__init__(controls=controls(models()), facts=facts)
        start = {"s": 8192, "b": 1, "bytes": 2, "gpus": 1, "block": 1, "source": 1024}
        self.chosen = coupled(
            {"model": "Llama-3 8B", "beside": "", "pages": "needed"} | start, "model", named
        )

    def choose(self, **values):
        """Set these, one after the other, as a reader would.

        Raises TraitError if there is no such value, KeyError with the nearest names if there is no
        such model.
        """
        for name, value in values.items():
            if name in ("model", "beside"):
                value = value and self.find(value).name
                if (name, value) == ("beside", OWN):
                    raise traitlets.TraitError(f"beside is {OWN}; choose a model of the list")
            elif name == "weights":
                if not 0 <= value <= 10_000:
                    raise traitlets.TraitError(f"weights is {value}; it must be from 0 to 10000")
            elif name == "pages":
                one_of(list(PAGES), value)
            elif name == "g":
                one_of(divisors(self.chosen["n"]), value)
            else:
                one_of(self.controls[name]["values"], value)
            self.chosen = coupled({**self.chosen, name: value}, name, self.find)

    def find(self, name):
        """The Geometry of this name: in the table, added, or of one's own sizes."""
        if name in self.own_models:
            return self.own_models[name]
        if name != OWN:
            return named(name)
        l, n, g, h = (self.chosen[size] for size in "lngh")
        return Geometry(OWN, l, n, g, h, d_model=n * h, max_context=None)

    def add(self, geometry):
        """Put a model into the list, in place of an added one of that name; returns its name.

        Raises ValueError if it has more than 100,000 heads.
        """
        name = geometry.name or "a model without a name"
        if geometry.n_heads > MOST_HEADS:
            raise ValueError(
                f"{name}: {geometry.n_heads:,} heads; at most {MOST_HEADS:,} can be shown"
            )
        if name == OWN or any(m.name == name for m in models()):
            name += ", added"
        self.own_models[name] = replace(geometry, name=name)
        with self.hold_sync():
            self.controls = controls([*models(), *self.own_models.values()])
            self.added = [fact(m) for m in self.own_models.values()]
        return name

    @traitlets.observe("asked")
    def _answer(self, change):
        """Read the model that the browser asks for; it then chooses it itself."""
        try:
            if "config" in change.new:
                m = pasted(read_config(change.new["config"]))
            else:
                m = downloaded(change.new["name"])
            said = {"name": self.add(m)}
        except Exception as fault:  # what strangers put into their files can fail anywhere
            known = isinstance(fault, OSError | ValueError)  # their words are meant for a reader
            said = {"error": str(fault) if known else f"{type(fault).__name__}: {fault}"}
        self.answer = {"number": change.new["number"], **said}

    @property
    def geometry(self):
        """The model that is chosen."""
        return self.find(self.chosen["model"])

    @property
    def bill(self):
        """What the cache takes, as HTML, in the words that the browser says beside the controls."""
        beside = self.chosen["beside"]
        return bill(self.geometry, self.chosen, beside and self.find(beside))

    def words(self):
        """What the cache takes, in a line."""
        return words(self.geometry, self.chosen)

    def _repr_mimebundle_(self, **kwargs):
        """The widget; where none can live, the bill alone."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        m, c = self.geometry, self.chosen
        what = m.reading
        if len(m.caches) == 1:
            (x,) = in_pages(m, c).caches
            what = f"{numbers(x, c)} = {size(in_pages(m, c), c):,} bytes"
        text = f"KV cache of {m.name}: {what}. {words(m, c)}"
        return as_shown(data | {"text/html": self.bill, "text/plain": text}), metadata


def controls(geometries):
    """The sliders, {name: label, values, texts}; g has the divisors of n, the browser's to find."""
    n_tokens = N_TOKENS | {m.max_context for m in geometries if m.max_context}
    whole = "{:,}".format
    offered = {
        "s": ("s · tokens", n_tokens, whole),
        "b": ("b · sequences", range(1, 65), str),
        "bytes": ("bytes per element", BYTES, BYTES.get),
        "l": ("l · layers", {*range(1, 129)} | {m.n_layers for m in geometries}, str),
        "n": ("n · query heads", {1, 2} | {m.n_heads for m in geometries}, str),
        "g": ("g · K/V heads", [1], str),
        "h": ("h · head width", {*range(8, 257, 8)} | {m.head_dim for m in geometries}, str),
        "source": ("encoder · tokens", {2**k for k in range(18)}, whole),
        "gpus": ("GPUs", [1, 2, 4, 8, 16], str),
        "block": ("tokens in a block", [1, 16, 32, 64, 128, 256], str),
    }
    return {
        name: {"label": label, "values": sorted(values), "texts": [*map(text, sorted(values))]}
        for name, (label, values, text) in offered.items()
    }


def fact(m):
    """What the browser has to know of a model; its layers as the fields of `Layers`, in order."""
    return {
        "name": m.name,
        "kind": m.kind,
        "l": m.n_layers,
        "n": m.n_heads,
        "g": m.n_kv_heads,
        "h": m.head_dim,
        "max_context": m.max_context,
        "upper_bound": m.upper_bound,
        "layers": [list(astuple(x)) for x in m.caches],
    }


def coupled(chosen, moved, find):
    """What is chosen after this was moved: a model goes with its sizes and its weights."""
    if moved == "model" and chosen["model"] != OWN:
        m = find(chosen["model"])
        sizes = {"l": m.n_layers, "n": m.n_heads, "g": m.n_kv_heads, "h": m.head_dim}
        return chosen | sizes | {"weights": WEIGHTS.get(m.name, 0)}
    if moved not in ("model", "l", "n", "g", "h"):
        return chosen
    sizes = {"n": chosen["n"] or 1, "h": chosen["h"] or 128}  # a model without attention has none
    own = chosen | sizes | {"model": OWN, "g": math.gcd(sizes["n"], chosen["g"])}
    return own if moved == "g" else own | {"weights": 0}  # of one's own not known


def pasted(config):
    """The Geometry in a config; one without a name is called by its family and its size."""
    m = from_config(config)
    family = config.get("model_type") or "a model"
    size = f"{m.n_layers} {'layer' if m.n_layers == 1 else 'layers'}, d = {m.d_model}"
    return replace(m, name=f"{config.get('_name_or_path') or f'{family}, {size}'} (pasted)")


def downloaded(name):
    """The Geometry of a model on the Hub, or in a folder."""
    try:
        checkpoint = checkpoints.open_checkpoint(name)
        return replace(checkpoint.geometry, name=checkpoint.name)
    except OSError as error:
        if not name or re.search(r"[/\\]", name):
            raise
        raise OSError(f"{error}; {name} has no slash: write org/name") from error


def read_config(text):
    """The dict in the text of a config.json; ValueError, with the line, says what is wrong."""
    if not text.strip():
        raise ValueError("nothing is pasted; open a model's config.json, copy all of it")
    if re.fullmatch(r"https?://\S+|[\w.-]+/[\w.-]+", text.strip()):
        raise ValueError("that is a name: put it into the field below")
    if "```" in text:
        raise ValueError("there is ``` in it: paste only what stands between the two, from { to }")
    text = text.rstrip()
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
        if after[:1] == ",":
            before, after = before + ",", after[1:].lstrip()
        line, what = error.lineno, error.msg
        if before[-1:] == "," and after[:1] in ("}", "]"):
            line, what = before.count("\n") + 1, f"a comma before the closing {after[0]}; remove it"
        elif not after or what.startswith("Unterminated string"):
            what += ", is the end missing?"
        shown = shorten(text.split("\n")[line - 1], 60, placeholder=" …")
        raise ValueError(f"no JSON, line {line}: {what}: {shown}") from None
    except RecursionError:
        raise ValueError("no config: its lists lie too deep in one another") from None
    if not isinstance(config, dict):
        raise ValueError("no config: a config.json begins with { and ends with }")
    return config


def size(m, c, batch=None):
    """Bytes of a cache, on each GPU."""
    return m.kv_bytes(
        c["s"],
        c["b"] if batch is None else batch,
        c["bytes"],
        n_gpus=c["gpus"],
        block=c["block"],
        n_source=c["source"],
    )


def kind_words(x):
    """What some layers keep, in words."""
    parts = [f"{x.n_layers} {'layer' if x.n_layers == 1 else 'layers'}"]
    if x.n_kv_heads:
        each = f"{x.key_dim}" + ("" if x.value_dim else ", K and V in one")
        if x.value_dim not in (0, x.key_dim):
            each = f"K {x.key_dim} and V {x.value_dim}"
        parts.append(f"{x.n_kv_heads} {'head' if x.n_kv_heads == 1 else 'heads'} of {each}")
    if x.latent_dim:
        parts.append(f"a latent and RoPE key of {x.latent_dim}")
    if x.index_dim:
        parts.append(f"an index key of {x.index_dim}")
    if len(parts) > 1:
        every = f"one entry for {x.every} tokens" if x.every > 1 else ""
        last = f"the last {x.window:,} tokens" if x.window is not None else ""
        what = "what an encoder read" if x.cross else "all tokens"
        parts.append(", ".join(filter(None, [last, every])) or what)
    if x.state:
        parts.append(f"a state of {x.state:,} numbers")
    return " · ".join(parts)


def kept(x, c):
    """How many tokens these layers keep, in whole blocks."""
    return x.kept(c["source"] if x.cross else c["s"], c["block"])


def part_size(x, c):
    """Bytes of some of the layers, on each GPU."""
    n_tokens = c["source"] if x.cross else c["s"]
    return math.ceil(x.n_bytes(n_tokens, c["b"], c["bytes"], c["gpus"], c["block"]))


def numbers(x, c):
    """The product that is the bytes of these layers, on each GPU."""
    g, products = -(-x.n_kv_heads // c["gpus"]), []
    l, b, each = x.n_layers, c["b"], plain(c["bytes"])
    pair = x.key_dim == x.value_dim
    one = f"{g} · " + (str(x.key_dim) if pair else f"({x.key_dim} + {x.value_dim})")
    if not x.value_dim:
        one = f"{g} · {x.key_dim}"
    if g and pair and not (x.latent_dim or x.index_dim):
        products.append(f"2 · {l} · {b} · {one} · {kept(x, c)} · {each}")
    elif x.n_kv_heads or x.latent_dim or x.index_dim:
        terms = [f"2 · {one}" if pair else one] * bool(g)
        terms += [str(y) for y in (x.latent_dim, x.index_dim) if y]
        token = terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"
        products.append(f"{l} · {b} · {token} · {kept(x, c)} · {each}")
    if x.state:
        products.append(f"{l} · {b} · {-(-x.state // c['gpus'])} · {plain(max(2, c['bytes']))}")
    return " + ".join(products)


def letters(x, c):
    """That product in letters, if it is that of a cache of K and V alike, or of latents; or ""."""
    if x.index_dim or x.state or x.cross or x.every > 1 or (x.latent_dim and x.n_kv_heads):
        return ""
    tokens = "s" if x.window is None else "min(s, window)"
    if c["block"] > 1:
        tokens = f"⌈{tokens} / block⌉ · block"
    if x.latent_dim:
        return f"l · b · (latent + RoPE key) · {tokens} · bytes"
    g = "g" if c["gpus"] == 1 else "⌈g / GPUs⌉"
    return f"2 · l · b · {g} · h · {tokens} · bytes" if x.key_dim == x.value_dim else ""


def words(m, c):
    """What the cache takes, in a line."""
    total = size(in_pages(m, c), c)
    sequences = f"{c['b']} {'sequence' if c['b'] == 1 else 'sequences'} of {c['s']:,} "
    where = f" on each of {c['gpus']} GPUs" if c["gpus"] > 1 else ""
    tokens = "token" if c["s"] == 1 else "tokens"
    return f"{gb(total)} = {shown(total / 2**30)} GiB{where} for {sequences}{tokens}"


def in_pages(m, c):
    """The model, without its windows where pages are for all tokens."""
    if c["pages"] == "needed":
        return m
    return replace(m, layers=tuple(replace(x, window=None) for x in m.caches))


def bill(geometry, chosen, beside=None):
    """What a cache takes, as HTML: by kinds of layers, beside MHA and MQA, and how many users fit.

    chosen as in `Calculator`, beside a Geometry whose bill follows; the same words, in the same
    order, as calculator.js writes.
    """
    if not beside:
        own = sizes(geometry, chosen)
        return bill_of(geometry, chosen, own, [own])
    m, c, other = geometry, chosen, chosen | {"weights": WEIGHTS.get(beside.name)}
    first, second = both = [sizes(m, c), sizes(beside, c)]
    bills = bill_of(m, c, first, both) + bill_of(beside, other, second, both)
    return f"<p>{html.escape(versus(m, first[0], beside, second[0]))}</p>{bills}"


def versus(m, x, other, y):
    """How much more the one of two models keeps, x and y bytes."""
    if x == y:
        return f"{m.name} keeps as much as {other.name}."
    (least, less), (most, more) = sorted([(x, m.name), (y, other.name)])
    return (
        f"{more} keeps {number(most / least)} × what {less} does."
        if least
        else f"{less} keeps nothing."
    )


def sizes(m, c):
    """The bytes of a model's cache, and of those of the same sizes at both ends: own, MHA, MQA."""
    every = m, m.with_kv_heads(m.n_heads), m.with_kv_heads(1)
    return [size(in_pages(x, c), c) for x in every]


def bill_of(m, c, own, every):
    """The bill of one of the models that are shown, of its sizes; bars are to the scale of all."""
    largest, longest = max(x for x, *_ in every), max(map(max, every))
    paged, total = in_pages(m, c), own[0]
    user = size(paged, c, batch=1)
    kind = "no K/V heads" if m.kind == "none" else m.kind
    page = f"<b>{html.escape(m.name)}</b> · {kind}<br>"
    page += "" if m.caches else "nothing is kept of a token<br>"
    if len(m.caches) == 1:
        (x,) = paged.caches
        page += f"{kind_words(x)}<br>" + "".join(f"{y}<br>" for y in [letters(x, c)] if y)
        page += f"{numbers(x, c)} = {total:,} bytes<br>"
    total_words, _, rest = words(m, c).partition(" GiB")
    page += f'<b style="font-size: 20px">{total_words} GiB</b>{rest}'
    page += f"<div>{token_words(paged, c)}</div>"
    if len(m.caches) > 1:
        for x in paged.caches:
            part = part_size(x, c)
            share = part / total if total else 0
            page += (
                f"<div>{kind_words(x)} <b>{gb(part)}</b> ·\u00a0"
                f"<span>{nearest(100 * share)}\u00a0%</span>{bar(part / (largest or 1))}"
                f"<span>{numbers(x, c)} = {part:,} bytes</span></div>"
            )
    if any(x.n_kv_heads or x.latent_dim for x in m.caches):
        page += table(["same sizes", "to scale", "cache", "this cache"], compared(m, own, longest))
    page += users(user, c) if user and c["weights"] else ""
    page += f"<div>{UNWEIGHED}</div>" if user and c["weights"] == 0 else ""
    notes = "<br>".join(html.escape(note) for note, holds in notes_on(m, c, user).items() if holds)
    return f'<div style="font-size: 15px; line-height: 1.5">{page}{notes}</div>'


def bar(share):
    """A bar as long as its share of the longest."""
    look = f"width: {nearest(100 * share)}px; height: 14px; background-color: #808080"
    return f'<div style="{look}"></div>'


def token_words(m, c):
    """What a token adds, on all GPUs together."""
    first, following = (m.token_bytes(s, 1, c["bytes"]) for s in (0, c["s"]))
    alone = ", before they are shared out" if c["gpus"] > 1 else ""
    mean = " on average" if any(x.every > 1 for x in m.caches) else ""
    if first == following:
        return f"{first:,} bytes{mean} for each token of a sequence{alone}"
    full = f"once windows are full {following:,}"
    return f"Each token adds {first:,} bytes{mean}, {full}{alone}."


def compared(m, own, longest):
    """Rows of a table: MHA and MQA of the same layers, and this cache between them."""
    gs = {x.n_kv_heads for x in m.caches if x.n_kv_heads}
    this = f"this, g = {gs.pop()}" if len(gs) == 1 else "this"
    if any(x.latent_dim for x in m.caches):
        this = "this, a latent"
    total, mha, mqa = own
    rows = {f"MHA, g = {m.n_heads}": mha, this: total, "MQA, g = 1": mqa}
    return [
        [name, bar(x / longest if x else 0), gb(x), times(x, total)] for name, x in rows.items()
    ]


def times(x, total):
    """x as a multiple or a part of the total."""
    if not (x and total):
        return ""
    return f"÷ {number(total / x)}" if x < total else f"× {number(x / total)}"


def users(user, c):
    """Table of how many users fit on GPUs; each keeps its part of the weights."""
    weights = c["weights"] / c["gpus"]
    rows = []
    for memory in MEMORIES:
        left = max(memory - weights, 0)
        rows.append([f"{memory} GB", f"{number(left, 4)} GB", f"{math.floor(left * 1e9 / user):,}"])
    gpu = f"each of {c['gpus']} GPUs" if c["gpus"] > 1 else "GPU"
    return table([gpu, f"less {number(weights, 4)} GB of weights", "users who fit"], rows)


def notes_on(m, c, user):
    """What there is to say on a bill → whether it holds."""
    gpus, n_bytes = c["gpus"], c["bytes"]
    caches = m.caches
    latent = any(x.latent_dim for x in caches)
    few = sorted({x.n_kv_heads for x in caches if 0 < x.n_kv_heads < gpus})
    uneven = any(x.n_kv_heads > gpus and x.n_kv_heads % gpus for x in caches)
    scaled, copies = n_bytes in SCALED, latent and gpus > 1
    g = " or ".join(map(str, few))
    return {
        "Your own: all layers alike, all tokens kept, no window, no latent, no state.": m.name
        == OWN,
        f"A user is one sequence: {gb(user)}. Not exact: most cards report some "
        "6\u00a0%\u00a0more, and a program needs memory for itself.": user and c["weights"],
        "The weights do not change with g here; k_proj and v_proj would.": m.name == OWN
        and c["weights"],
        "A latent, and one RoPE key, stand for K and V of all heads (lesson 10). MHA and MQA are "
        f"drawn with K and V {m.head_dim} wide, as V is; keys with their RoPE part are wider, and "
        "would take more.": latent,
        f"With {gpus} GPUs and g = {g}, heads are copied: a GPU keeps at least one.": few,
        f"Heads do not divide evenly among {gpus} GPUs; counted is one with the most.": uneven,
        f"A latent is not shared out: each of the {gpus} GPUs keeps all of it.": copies,
        f"32 numbers share a scale of 2 bytes: {plain(32 * n_bytes)} bytes for 32 numbers.": scaled,
        "A state is counted with 2 bytes a number; some engines keep most of it in float32, "
        "twice as much.": n_bytes < 4 and any(x.state for x in caches),
        f"An upper bound: {m.upper_bound}.": m.upper_bound,
        f"It was made for up to {m.max_context or 0:,} tokens.": 0 < (m.max_context or 0) < c["s"],
    }


def gb(n_bytes):
    """Bytes in GB."""
    return f"{shown(n_bytes / 1e9)} GB"


def shown(x):
    """A number with two decimals, or with three digits if it is small: 399.77, 0.0375.

    Halves are rounded up, as in the browser.
    """
    x = Decimal(str(x))
    places = max(2, 2 - x.adjusted()) if x else 0
    return f"{x.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"


def plain(x):
    """A number as Python and the browser both write it: 2, 0.5625."""
    return f"{x:g}"


def nearest(x):
    """The nearest whole number, as the browser rounds."""
    return math.floor(x + 0.5)
