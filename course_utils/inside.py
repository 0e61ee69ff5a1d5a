"""Inside a checkpoint, a layer at a time: what each layer gets, and the keys and values it makes.

b batch, n query heads, g key/value heads, h head_dim, d d_model, s tokens.
"""

import torch

from course_utils.decoder import Layer, check, filled, part_of, rotation

EMBEDDING = "model.embed_tokens.weight"
KV = "input_layernorm", "self_attn.k_proj", "self_attn.v_proj", "self_attn.k_norm"


def inputs(checkpoint, ids):
    """What each layer gets for these ids: x (1, s, d) of layer 0, of layer 1, and so on.

    Layer i is read when the input of layer i + 1 is asked for; one layer is in memory at a time.
    """
    check(checkpoint.config)
    rope = rotation(checkpoint.config)
    x = checkpoint.tensor(EMBEDDING, rows=ids).float()[None]
    yield x
    for i in range(checkpoint.config["num_hidden_layers"] - 1):
        with torch.no_grad():
            x, _ = read_layer(checkpoint, i)(x, None, rope)
        yield x


@torch.no_grad()
def keys_values(checkpoint, i, x):
    """Keys before RoPE, keys after it and values, (1, g, s, h) each, of layer i for its input x.

    Only what makes them is read: a norm, k_proj and v_proj.
    """
    layer = read_layer(checkpoint, i, KV)
    x = layer.input_layernorm(x)
    k = layer.self_attn.keys(x)
    return k, rotation(checkpoint.config)(k, 0), layer.self_attn.values(x)


def read_layer(checkpoint, i, parts=("",)):
    """Layer i in float32, or those of its parts whose names begin so; the rest stays empty.

    Raises ValueError if a tensor is missing, or is not what config.json says.
    """
    with torch.device("meta"):
        layer = Layer(checkpoint.config)
    weights = checkpoint.tensors(layer_parts(checkpoint, i, parts))
    return filled(layer, weights, f"model.layers.{i}.", parts)


def layer_parts(checkpoint, i, parts=("",)):
    """The tensors of layer i whose names begin so, {name: None}, for `tensors` and `price`."""
    return part_of(checkpoint, *(f"model.layers.{i}.{part}" for part in parts))


def needed(checkpoint, ids, i):
    """What must be read to see the keys and values of layer i: {name: rows or None}.

    Rows of the embedding, all layers below i, and of layer i a norm, k_proj and v_proj.
    """
    wanted = {EMBEDDING: ids} | layer_parts(checkpoint, i, KV)
    for below in range(i):
        wanted |= layer_parts(checkpoint, below)
    return wanted
