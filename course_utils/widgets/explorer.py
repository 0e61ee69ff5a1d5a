"""Look into a model by its name: what must be read of it, and then its keys and values.

Those of the families in `families` are drawn; of others, sizes and g are told, and why not more.
"""

import html
from textwrap import shorten

from ipywidgets import HTML, Dropdown, HBox, VBox

from course_utils import SENTENCE, checkpoints, data_path, figures
from course_utils.checkpoints.layers import prefix
from course_utils.families import FAMILIES, architecture
from course_utils.figures.parts import size
from course_utils.widgets.slider import Keys, Slider, box_bundle

HERE = ["doors-g8", "doors-g32", "doors-g1"]  # in data/checkpoints/doors: they need no network
# Our sentence in tokens, made with copies of these models' tokenizer.json of 2 to 11 MB: about as
# much as what we come for.
LLAMA2 = [1, 624, 1945, 15706, 1287, 9289, 304, 624, 2251, 3208, 1287, 8148]
LLAMA3 = [128000, 606, 1401, 16264, 1690, 14365, 323, 832, 6134, 3966, 1690, 7039]
QWEN = [603, 1376, 15885, 1657, 14038, 323, 825, 6006, 3880, 1657, 6894]
THERE = {  # on the Hub; None: the tokenizer is read as well
    "HuggingFaceTB/SmolLM2-135M": None,
    "Qwen/Qwen2.5-0.5B": QWEN,
    "Qwen/Qwen3-0.6B": QWEN,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": LLAMA2,
    "HuggingFaceTB/SmolLM2-1.7B": None,
    "NousResearch/Meta-Llama-3-8B": LLAMA3,
    "meta-llama/Meta-Llama-3-8B": LLAMA3,
}


class Explorer(HBox):
    """A choice of model and layer, and what must be read for its picture; `read` reads and draws.

    names: more models, as "org/name" on the Hub, or folders. `bill` says what must be read, or in
    one line what went wrong, and `text` is its words; nothing but a config, headers and a tokenizer
    is read before `read` is called.

    >>> explorer = Explorer()
    >>> explorer.layer.value = 1
    >>> explorer.text
    'doors-g8 · GQA, n = 32, g = 8, h = 16. Layer 1: 593.2 kB to read of 2.1 MB'
    """

    _ipython_display_ = None  # ipywidgets 7 would show the controls without the words

    def __init__(self, *names):
        options = dict.fromkeys([*HERE, *THERE, *map(str, names)])
        wide = {"width": "420px"}
        self.model = Dropdown(description="model", options=list(options), layout=wide)
        self.layer, self.bill = Slider("layer", [0]), HTML()
        self.model.observe(self._open, "value")
        self.layer.observe(self._price, "value")
        super().__init__([VBox([self.model, self.layer, self.bill]), Keys()])
        self._open()

    def _open(self, change=None):
        """Read of the chosen model what says where its tensors are, and its tokenizer."""
        name, self.checkpoint, self.sizes, self.walk = self.model.value, None, "", None
        self.say(f"{name}: reading its config, headers and tokenizer")
        try:
            checkpoint = checkpoints.open_checkpoint(
                data_path("checkpoints", "doors", name) if name in HERE else name
            )
            m = checkpoint.geometry
            g = f"a latent and RoPE key of {m.latent_dim}" if m.kind == "MLA" else f"g = {m.g}"
            self.sizes = f"{name} · {m.kind}, n = {m.n_heads}, {g}, h = {m.head_dim}"
            if m.layers is not None:  # they differ
                self.sizes += f"; {m.reading}"
            if checkpoint.why_not:
                raise ValueError(f"{checkpoint.why_not}; drawn are {', '.join(FAMILIES)}")
            architecture(checkpoint.config)
            self.ids = THERE.get(name) or checkpoint.tokenizer().encode(SENTENCE).ids
        except Exception as fault:  # what strangers put into their files can fail anywhere
            self.layer.offer([0], 0)
            self.fail(fault)
            return
        self.layer.offer(range(m.n_layers), 0)
        self.checkpoint, self.opened = checkpoint, checkpoint.bytes_read
        self._price()

    def _price(self, change=None):
        """Say what must be read for the chosen layer."""
        if not self.checkpoint:
            return
        i = self.layer.value
        try:
            price = self.checkpoint.price(checkpoints.needed(self.checkpoint, self.ids, i))
            to_read = f"{size(price)} to read of {size(self.checkpoint.n_bytes)}"
            so_far = f"; opening it took {size(self.opened)}" if self.checkpoint.n_requests else ""
            self.say(f"{self.sizes}. Layer {i}: {to_read}{so_far}")
        except Exception as fault:
            self.fail(fault)

    def read(self):
        """Read what the chosen layer needs → a `head_grid` of its keys and values, or None."""
        if not self.checkpoint:
            return None
        i, c = self.layer.value, self.checkpoint
        m, before = c.geometry, c.bytes_read
        try:
            xs, inputs = self.walk or ([], checkpoints.inputs(c, self.ids))
            self.walk = None  # if it is broken off, the next one starts anew, from the disk
            while len(xs) <= i:
                xs.append(next(inputs))
            self.walk = xs, inputs
            unturned, keys, values = checkpoints.keys_values(c, i, xs[i])
            k = "K, here without RoPE" if keys.equal(unturned) else "K after RoPE"
            title = f"{c.name.rpartition('/')[2]}, layer {i}: {widths(c, i)}"  # a line is short
            grid = figures.head_grid({k: keys[0], "V": values[0]}, m.n_heads, title)
        except Exception as fault:
            self.fail(fault)
            return None
        so_far = f"; so far {size(c.bytes_read)} in {c.n_requests} requests" if c.n_requests else ""
        self.say(f"{self.sizes}. Layer {i}: {size(c.bytes_read - before)} read{so_far}")
        return grid

    def fail(self, fault):
        """Say what went wrong, behind the sizes of the model if they are known."""
        known = isinstance(fault, OSError | ValueError)  # their words are meant for a reader
        parts = [self.sizes, "" if known else type(fault).__name__, str(fault)]
        self.say(shorten(": ".join(filter(None, parts)), 400, placeholder=" …"))

    def say(self, text):
        """Show a line below the controls."""
        self.text, self.bill.value = text, f'<div style="font-size: 15px">{html.escape(text)}</div>'

    def _repr_mimebundle_(self, **kwargs):
        """The controls and their line; where no widget can live, the line alone."""
        return box_bundle(self, self.layer, self.bill.value, self.text)


def widths(checkpoint, i):
    """What the shapes of layer i say, in words: n · h, which are the columns of o_proj, and g · h.

    Rows of q_proj would not do: in some models it makes gates for the heads' outputs, too.
    """
    start = f"{prefix(checkpoint)}layers.{i}.self_attn."
    columns = checkpoint.shape(f"{start}o_proj.weight")[1]
    if (qkv := f"{start}qkv_proj.weight") in checkpoint.names:
        rest = checkpoint.shape(qkv)[0] - columns
        return f"o_proj has {columns:,} columns, qkv_proj {columns:,} + 2 · {rest // 2:,} rows"
    rows = checkpoint.shape(f"{start}v_proj.weight")[0]
    return f"o_proj has {columns:,} columns, v_proj {rows:,} rows"
