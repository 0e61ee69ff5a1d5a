"""The bill of a KV cache: sliders for its sizes and, beside them, what it takes."""

import math
from dataclasses import replace

from ipywidgets import HTML, BoundedFloatText, Dropdown, HBox, VBox

from course_utils.attention import divisors
from course_utils.geometry import Geometry, model, models
from course_utils.widgets.slider import BYTES, OWN, Keys, Slider, box_bundle, table

N_TOKENS = sorted({2**k for k in range(21)} | {m.max_context for m in models()} | {100_000})
MEMORIES = [16, 24, 80, 141]  # GB
WEIGHTS = {"Llama-3 8B": 16.06}  # GB: 8,030,261,248 parameters of 2 bytes; of others not known


class Calculator(HBox):
    """Controls for the sizes of a cache and, beside them, its `bill`.

    Choosing a model sets l, n, g, h and the weights; moving l, n, g or h makes it "your own". b, s
    and the bytes stay as they are, so that models can be compared.

    >>> calculator = Calculator()
    >>> calculator.model.value, calculator.l.value, calculator.g.values
    ('Llama-3 8B', 32, [1, 2, 4, 8, 16, 32])
    """

    _ipython_display_ = None  # ipywidgets 7 would show the controls without the words

    def __init__(self):
        self.model = Dropdown(description="model", options=[OWN, *(m.name for m in models())])
        self.l = Slider("l · layers", range(1, 129))
        self.n = Slider("n · query heads", sorted({m.n_heads for m in models()} | {1, 2}))
        self.g = Slider("g · K/V heads", [1])
        self.h = Slider("h · head width", range(8, 257, 8))
        self.b = Slider("b · sequences", range(1, 65))
        self.s = Slider("s · tokens", N_TOKENS, text="{:,}".format)
        self.bytes = Slider("bytes per element", BYTES, text=BYTES.get)
        self.weights = BoundedFloatText(description="weights, GB", max=10_000, step=1)
        self.bill = HTML()
        self.s.value, self.bytes.value = 8192, 2
        self.sizes = [self.l, self.n, self.g, self.h]
        self.moving = False  # while one control moves others
        controls = [self.model, *self.sizes, self.b, self.s, self.bytes, self.weights]
        for control in controls:
            control.observe(self._moved, "value")
        super().__init__([VBox(controls), self.bill, Keys()])
        self.add_class("calculator")  # its look is in slider.css
        self.model.value = "Llama-3 8B"

    def _moved(self, change):
        """Bring the other controls in line, then write the bill, once."""
        if self.moving:
            return
        self.moving = True
        if change.owner in self.sizes:
            self.model.value = OWN
        l, n, g, h = (control.value for control in self.sizes)
        m = Geometry(OWN, l, n, math.gcd(n, g), h, d_model=n * h, max_context=max(N_TOKENS))
        if self.model.value != OWN:
            m = model(self.model.value)
        if change.owner in (self.model, self.l, self.n, self.h):
            self.weights.value = WEIGHTS.get(m.name, 0)  # unknown, also of what one makes up: 0
        self.l.value, self.n.value, self.h.value = m.n_layers, m.n_heads, m.head_dim
        self.g.offer(divisors(m.n_heads), m.n_kv_heads)
        asked = m, self.s.value, self.b.value, self.bytes.value
        self.bill.value = bill(*asked, self.weights.value)
        self.text = f"KV cache of {m.name}: {formula(*asked)[1]}"
        self.moving = False

    def _repr_mimebundle_(self, **kwargs):
        """The controls and the bill; where no widget can live, the bill alone."""
        return box_bundle(self, self.l, self.bill.value, self.text)


def formula(geometry, n_tokens, batch=1, bytes_per_element=2):
    """The size of a cache in letters, and with the numbers filled in.

    >>> formula(model("DeepSeek-V3 (671B)"), n_tokens=1)
    ('l · b · (latent + RoPE key) · s · bytes', '61 · 1 · 576 · 1 · 2 = 70,272 bytes')
    """
    m = geometry
    factors = {"2": 2, "l": m.n_layers, "b": batch, "g": m.n_kv_heads, "h": m.head_dim}
    if m.kind == "MLA":
        factors = {"l": m.n_layers, "b": batch, "(latent + RoPE key)": m.latent_dim}
    factors |= {"s": n_tokens, "bytes": bytes_per_element}
    size = m.kv_bytes(n_tokens, batch, bytes_per_element)
    return " · ".join(factors), f"{' · '.join(map(str, factors.values()))} = {size:,} bytes"


def bill(geometry, n_tokens, batch=1, bytes_per_element=2, weights=0):
    """What a cache takes, as HTML: in bytes, beside MHA and MQA, and how many users fit.

    weights are the GB that the model's weights take, 0 if that is not known. Raises ValueError
    without tokens, or as `kv_cache_bytes` does.

    >>> "4.83 GB = 4.50 GiB" in bill(model("GPT-3 175B"), n_tokens=1024)
    True
    """
    if n_tokens < 1:
        raise ValueError(f"n_tokens ({n_tokens}) must be at least 1; an empty cache has no bill")
    m, own = geometry, geometry.name == OWN
    mha, mqa = (replace(m, n_kv_heads=g, latent_dim=None) for g in (m.n_heads, 1))
    this = "a latent" if m.kind == "MLA" else f"g = {m.n_kv_heads}"
    kinds = {f"MHA, g = {m.n_heads}": mha, f"this, {this}": m, "MQA, g = 1": mqa}
    sizes = {name: x.kv_bytes(n_tokens, batch, bytes_per_element) for name, x in kinds.items()}
    size, user = (m.kv_bytes(n_tokens, b, bytes_per_element) for b in (batch, 1))
    bars = []
    for name, x in sizes.items():
        width = f"width: {100 * x / max(sizes.values()):.0f}px"
        bar = f'<div style="{width}; height: 14px; background-color: #808080"></div>'
        times = f"÷ {size / x:.3g}" if x < size else f"× {x / size:.3g}"
        bars.append([name, bar, f"{shown(x / 1e9)} GB", times])
    counted = f"less {weights:g} GB of weights" if weights else "weights not counted"
    left = {memory: max(memory - weights, 0) for memory in MEMORIES}
    users = [[f"{x} GB", f"{y:g} GB", f"{int(y * 10**9 // user):,}"] for x, y in left.items()]
    notes = {
        f"A user is one sequence of {n_tokens:,} tokens: {shown(user / 1e9)} GB.": True,
        "Not exact: most cards report some 6 % more, and a program needs memory for itself.": True,
        "The weights come on top: their number · their bytes (8 billion · 2 = 16 GB).": not weights,
        "A layer caches of a token not K and V in heads, but a latent and one RoPE key, together "
        f"{m.latent_dim} elements (lesson 10).": m.kind == "MLA",
        f"MHA and MQA take K and V {m.head_dim} wide each. The keys of DeepSeek-V2 and V3 are 192 "
        "wide: with those, both would take 1.25 times as much.": m.kind == "MLA",
        "The weights do not change with g here; k_proj and v_proj would.": own and weights,
        f"An upper bound, as not every layer sees all tokens: {m.windows}.": m.is_upper_bound,
        f"It was made for up to {m.max_context:,} tokens.": n_tokens > m.max_context,
    }
    return (
        f'<div style="font-size: 15px; line-height: 1.5"><b>{m.name}</b> · {m.kind}<br>'
        + "<br>".join(formula(m, n_tokens, batch, bytes_per_element))
        + f'<br><b style="font-size: 20px">{shown(size / 1e9)} GB = {shown(size / 2**30)} GiB</b>'
        f"<br>{m.kv_bytes(1, 1, bytes_per_element):,} bytes for each token of a sequence"
        + table(["same sizes", "to scale", "cache", "this cache"], bars)
        + table(["GPU", counted, "users who fit" if weights else "users, at most"], users)
        + f"{'<br>'.join(note for note, holds in notes.items() if holds)}</div>"
    )


def shown(x):
    """A number with two shown, or with three digits if it is small: 399.77, 0.0375."""
    return f"{x:,.{max(2, 2 - math.floor(math.log10(x)))}f}"
