"""Fewer K/V heads for a trained model: the weights of neighbouring heads averaged, as GQA was made.

n key/value heads the weights have now, g they get, r = n // g, h head_dim, d d_model.
"""

import math
import re
from collections import Counter

import torch

from course_utils.attention import group_size, listed

# Parts of an attention module: of queries and outputs, or of keys and values.
QUERIES = re.compile(r"q_|query|o_|out|dense|Wo|gate|g_proj|sink|softmax|rotary|lambda_|attn_sub")
KEYS = re.compile(r"key|value|kv|.*(?<![a-z])([kv]|key|value|kv)(?![a-z])")


def mean_pool_kv(weight, n_heads, n_kv_heads):
    """The mean of each group's heads: k_proj or v_proj (n·h, d) → (g·h, d).

    n_heads is the number of K/V heads weight has now. A bias (n·h,) becomes (g·h,).

    Raises ValueError if n is not divisible by g, or the rows of weight by n.
    Source: Ainslie et al. 2023, arXiv 2305.13245, section 2.1.

    >>> mean_pool_kv(torch.tensor([[0.0], [2.0], [4.0], [8.0]]), n_heads=4, n_kv_heads=2).tolist()
    [[1.0], [6.0]]
    """
    check_rows(len(weight), n_heads)
    r = group_size(n_heads, n_kv_heads)
    groups = weight.unflatten(0, (n_kv_heads, r, -1))  # (g, r, h, d): neighbours make a group
    return groups.mean(dim=1).flatten(0, 1)  # for half precision, PyTorch's mean sums in float32


def first_head_kv(weight, n_heads, n_kv_heads):
    """The first head of each group, the others dropped; shapes and errors as in `mean_pool_kv`.

    >>> first_head_kv(torch.tensor([0, 2, 4, 8]), n_heads=4, n_kv_heads=2)
    tensor([0, 4])
    """
    check_rows(len(weight), n_heads)
    r = group_size(n_heads, n_kv_heads)
    return weight.unflatten(0, (n_kv_heads, r, -1))[:, 0].flatten(0, 1)


def random_kv(weight, n_heads, n_kv_heads):
    """New weights, normal and as large as the old ones; shapes and errors as in `mean_pool_kv`.

    They come from torch's global generator. Do not seed it as the model was seeded: the same
    numbers are in its first weights.

    >>> random_kv(torch.ones(12, 5), n_heads=4, n_kv_heads=2).shape
    torch.Size([6, 5])
    """
    check_rows(len(weight), n_heads)
    rows = len(weight) // group_size(n_heads, n_kv_heads)
    return weight.std() * torch.randn_like(weight[:rows])


def convert(weights, n_heads, n_kv_heads, pool=mean_pool_kv):
    """A state dict with fewer K/V heads: every k_proj and v_proj pooled, the rest as it is.

    n_heads is the number of K/V heads now; weights is not changed. Query heads stay as they are.

    Raises ValueError if there is neither k_proj nor v_proj, if something else has a part for each
    K/V head, or as `mean_pool_kv` does.

    >>> weights = {"q_proj.weight": torch.zeros(12, 5), "k_proj.weight": torch.zeros(12, 5)}
    >>> {name: tuple(x.shape) for name, x in convert(weights, n_heads=4, n_kv_heads=2).items()}
    {'q_proj.weight': (12, 5), 'k_proj.weight': (6, 5)}
    """
    check_names({name: x.shape for name, x in weights.items()}, n_heads)
    check_dtypes({name: x.dtype for name, x in weights.items()})
    return pooled(weights, n_heads, n_kv_heads, pool)


def pooled(weights, n_heads, n_kv_heads, pool):
    """`convert` without its check: one file of several may have no k_proj."""
    return {name: pool(x, n_heads, n_kv_heads) if is_kv(name) else x for name, x in weights.items()}


def is_kv(name):
    """Whether a tensor belongs to a projection of keys or values.

    >>> is_kv("model.layers.0.self_attn.k_proj.weight"), is_kv("model.layers.0.self_attn.k_norm")
    (True, False)
    """
    return not {"k_proj", "v_proj"}.isdisjoint(name.split("."))


def check_rows(rows, n_heads):
    """Raise ValueError unless the rows of a weight are those of n heads."""
    if n_heads < 1 or rows % n_heads:
        raise ValueError(
            f"the rows of weight ({rows}) must be divisible by n_heads ({n_heads}), the number of "
            f"K/V heads it has now; try one of {listed(rows)}"
        )


def check_names(shapes, n_heads):
    """Raise ValueError unless all that depends on the K/V heads is in k_proj and v_proj.

    shapes is a dict from the name of every tensor to its shape.
    """
    found = {name: shape for name, shape in shapes.items() if is_kv(name)}
    if not found:
        raise ValueError(
            f"none of {len(shapes)} tensors is called k_proj or v_proj; there is "
            f"{', '.join(list(shapes)[:4])} …; where queries, keys and values are fused into one "
            "(qkv_proj, c_attn, query_key_value), split them first"
        )
    for name in found:
        if not name.endswith(("_proj.weight", "_proj.bias")):
            raise ValueError(
                f"{name} is neither the weight nor the bias of a projection; merge adapters, and "
                "undo quantization, before you convert"
            )
    rows = {shape[0] for shape in found.values()}
    if len(rows) > 1:
        raise ValueError(
            f"the k_proj and v_proj of this model have {' and '.join(map(str, sorted(rows)))} "
            "rows; all must have the same number of heads, as wide as each other"
        )
    check_rows(*rows, n_heads)
    h = rows.pop() // n_heads
    others = {name: shape for name, shape in shapes.items() if name not in found}
    for name, shape in others.items():
        if re.search(r"(?<![a-z])k(?![a-z])", name) and math.prod(shape) > h:
            raise ValueError(
                f"{name} has {math.prod(shape)} numbers, more than one head's {h}; the mean of a "
                "group is known for k_proj and v_proj only"
            )
    check_beside(others, {re.split(r"[kv]_proj\.", x)[0] for x in found}, n_heads, h)


def check_dtypes(dtypes):
    """Raise ValueError if a k_proj or v_proj, of {name: dtype}, is quantized."""
    for name, dtype in dtypes.items():
        if is_kv(name) and (not dtype.is_floating_point or dtype.itemsize < 2):
            raise ValueError(f"{name} is {dtype}; undo quantization before you convert")


def check_beside(shapes, modules, n_heads, h):
    """Raise ValueError if what is beside k_proj, in one of these modules, has a part for each head.

    That is: as many numbered tensors as K/V heads, as long a first axis, or, where it is named
    after keys or values, more numbers than one head's h.
    """
    numbered = Counter(map(unnumbered, shapes))
    for name, shape in shapes.items():
        parts = [name.removeprefix(x) for x in modules if name.startswith(x)]
        if n_heads == 1 or not parts or any(map(QUERIES.match, parts)):
            continue
        of_keys, size = any(map(KEYS.match, parts)), math.prod(shape)
        is_one_of_n = unnumbered(name) != name and numbered[unnumbered(name)] == n_heads
        has_n_rows = [*shape[:1]] == [n_heads] and not (of_keys and size == h)
        if is_one_of_n or has_n_rows or (of_keys and size > h):
            raise ValueError(
                f"{name} {tuple(shape)} seems to hold a part for each of {n_heads} K/V heads; the "
                "mean of a group is known for k_proj and v_proj only"
            )


def unnumbered(name):
    """A name without the number before its last part: norms.0.weight is norms.#.weight.

    >>> unnumbered("layers.3.k_norm.norms.0.weight")
    'layers.3.k_norm.norms.#.weight'
    """
    return re.sub(r"\.\d+(\.[^.]*)?$", r".#\1", name)
