"""A checkpoint as a model: whole, or a layer at a time, with the keys and values each layer makes.

b batch, n query heads, g key/value heads, h head_dim, d d_model, s tokens.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from course_utils.checkpoints.reader import WHOLE, write_json
from course_utils.decoder import Decoder, Layer, rotation
from course_utils.families import architecture

HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"
KV = "input_layernorm", "self_attn.k_proj", "self_attn.v_proj", "self_attn.k_norm"
FUSED = {  # in Phi-3's files one matrix is several, one under the other
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


class Undrawn(TorchFunctionMode):
    """Modules made in it get no first weights: on meta PyTorch would import 800 modules to draw."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def load(checkpoint):
    """The whole model of a `Checkpoint`, in float32: all its bytes are read.

    A head that is stored is used, even if config.json ties it to the embedding.

    Raises ValueError if a tensor is missing, as lm_head is in a model that was saved without.

    >>> from course_utils import checkpoints, data_path
    >>> model = load(checkpoints.open_checkpoint(data_path("checkpoints", "doors", "doors-g8")))
    >>> model.layers[0].self_attn.k_proj.weight.shape
    torch.Size([128, 128])
    """
    config, start = checkpoint.config, prefix(checkpoint)
    if HEAD in checkpoint.names:
        config = config | {"tie_word_embeddings": False}
    with torch.device("meta"), Undrawn():  # no memory yet, and no random numbers
        model = Decoder(config)
    weights = checkpoint.tensors(part_of(checkpoint, "" if hasattr(model, "lm_head") else start))
    return filled(model, weights, start)


def save(model, folder):
    """Write a model as the Hub has it, in bfloat16: config.json and model.safetensors."""
    folder, weights = Path(folder), {}
    for name, x in model.state_dict().items():
        weights[name if name.startswith("lm_head") else f"model.{name}"] = x.bfloat16()
    if model.config["model_type"] == "phi3":
        weights = fused(weights)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WHOLE, {"format": "pt"})
    write_json(folder / "config.json", model.config)


def inputs(checkpoint, ids):
    """What each layer gets for these ids: x (1, s, d) of layer 0, of layer 1, and so on.

    Layer i is read when the input of layer i + 1 is asked for; one layer is in memory at a time.
    """
    a = architecture(checkpoint.config)
    a.check_length(len(ids))
    x = checkpoint.tensor(prefix(checkpoint) + EMBEDDING, rows=ids).float()[None]
    x = a.embed_factor * x
    yield x
    for i in range(a.n_layers - 1):
        with torch.no_grad():
            x, _ = read_layer(checkpoint, i)(x, None, rotation(checkpoint.config, i))
        yield x


@torch.no_grad()
def keys_values(checkpoint, i, x):
    """Keys before RoPE, keys after it and values, (1, g, s, h) each, of layer i for its input x.

    Only what makes them is read: of `KV` what there is.
    """
    layer = read_layer(checkpoint, i, KV)
    before, *_ = layer.norms()
    x = before(x)
    k = layer.self_attn.keys(x)
    return k, rotation(checkpoint.config, i)(k, 0), layer.self_attn.values(x)


def read_layer(checkpoint, i, parts=("",)):
    """Layer i in float32, or those of its parts whose names begin so; the rest stays empty.

    Raises ValueError if a tensor is missing, or is not what config.json says.
    """
    with torch.device("meta"):
        layer = Layer(architecture(checkpoint.config))
    weights = checkpoint.tensors(layer_parts(checkpoint, i, parts))
    return filled(layer, weights, f"{prefix(checkpoint)}layers.{i}.", parts)


def prefix(checkpoint):
    """What names begin with: "model.", or nothing where AutoModel saved a model without lm_head."""
    return "" if EMBEDDING in checkpoint.names else "model."


def layer_parts(checkpoint, i, parts=("",)):
    """The tensors of layer i whose names begin so, {name: rows or None}, for `tensors`."""
    start = f"{prefix(checkpoint)}layers.{i}."
    wanted = part_of(checkpoint, *(start + part for part in parts))
    if parts == KV and (qkv := f"{start}self_attn.qkv_proj.weight") in checkpoint.names:
        m = checkpoint.geometry
        wanted[qkv] = slice(m.n_heads * m.head_dim, None)  # below the queries
    return wanted


def needed(checkpoint, ids, i):
    """What must be read to see the keys and values of layer i: {name: rows or None}.

    Rows of the embedding, all layers below i, and `KV` of layer i.
    """
    wanted = {prefix(checkpoint) + EMBEDDING: ids} | layer_parts(checkpoint, i, KV)
    for below in range(i):
        wanted |= layer_parts(checkpoint, below)
    return wanted


def part_of(checkpoint, *starts):
    """The tensors whose names start so, {name: None}, for `Checkpoint.tensors`."""
    names = [name for name in checkpoint.names if name.startswith(starts)]
    return dict.fromkeys(x for x in names if not x.endswith("inv_freq"))  # RoPE's, in old files


def filled(module, weights, start, parts=("",)):
    """The module with these weights in float32, or only its parts whose names begin so.

    Raises ValueError if a tensor is missing, unknown, quantized, or of another shape.
    """
    meant = {start + x: y for x, y in module.state_dict().items() if x.startswith(parts)}
    meant = {x.replace("model.lm_head", "lm_head"): y for x, y in meant.items()}  # beside the model
    weights = split(weights, meant)
    for name in sorted(meant | weights):
        has, should = (tuple(x[name].shape) if name in x else "none" for x in (weights, meant))
        if has != should:
            raise ValueError(f"{name}: the file has {has}, config.json means {should}")
        if weights[name].itemsize < 2:
            raise ValueError(f"{name} is {weights[name].dtype}, quantized; try the original model")
    weights = {name.removeprefix(start): x.float() for name, x in weights.items()}
    module.load_state_dict(weights, strict=False, assign=True)
    return module


def split(weights, meant):
    """The weights with each `FUSED` matrix cut into those of its parts that are meant."""
    for name in list(weights):
        for whole in FUSED.keys() & name.split("."):
            parts = [name.replace(whole, part) for part in FUSED[whole]]
            parts = [part for part in parts if part in meant]
            ends = torch.tensor([len(meant[part]) for part in parts]).cumsum(0)
            if parts:
                pieces = weights[name].tensor_split(ends[:-1])
                weights = {x: y for x, y in weights.items() if x != name}
                weights |= dict(zip(parts, pieces, strict=True))
    return weights


def fused(weights):
    """What `split` cuts, put together again."""
    for whole, (first, *_) in FUSED.items():
        for name in [x for x in weights if first in x.split(".")]:
            parts = [name.replace(first, part) for part in FUSED[whole]]
            matrix = torch.cat([weights[part] for part in parts])
            weights = {x: y for x, y in weights.items() if x not in parts}
            weights[name.replace(first, whole)] = matrix
    return weights
