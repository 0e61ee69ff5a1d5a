"""How much of the keys and values there is, and what a model still answers when less is cached.

Rows are tokens, columns the numbers of all heads side by side: n·h for the keys alone. Of all
matrices of rank r the nearest one lies in r directions, those of the largest singular values, and
has r numbers a token. Measure random weights beside trained ones: keys are made of x, which
has d numbers, so before RoPE no weights at all give more than d directions.
"""

import copy

import torch

from course_utils.attention import merge_heads


def kept(rows):
    """The share of the sum of squares that the nearest matrix of rank 1, 2, … keeps: (columns,).

    Source: Eckart and Young 1936, The approximation of one matrix by another of lower rank.

    >>> kept(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))  # 4² and 3² of 5²
    tensor([0.6400, 1.0000])
    """
    squares = torch.linalg.eigvalsh(gram(rows)).flip(0).clamp(min=0)  # of the singular values
    return squares.cumsum(0) / squares.sum()


def directions(rows):
    """The directions that keep most of the rows: (columns, columns), orthonormal, first the best.

    With w the first r of them, [:, :r], rows @ w are r numbers for each row, and rows @ w @ w.T is
    the nearest matrix of rank r.

    >>> directions(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))[:, :1].abs()
    tensor([[0.],
            [1.]])
    """
    return torch.linalg.eigh(gram(rows))[1].flip(1)


def gram(rows):
    """(columns, columns): its eigenvalues are the squares of the rows' singular values."""
    return rows.mT @ rows


@torch.no_grad()
def keys_values(model, doors, rooms, asked):
    """What a recall model caches: the keys and the values of all heads, (b·s, 2·g·h).

    The arguments are those of the model; of each example the doors come first.
    """
    rows = [model.door_rows(doors, rooms), model.question_rows(asked)]
    x = model.attention_norm(torch.cat(rows, dim=1))
    return torch.cat([model.attention.k_proj(x), model.attention.v_proj(x)], dim=2).flatten(0, 1)


@torch.no_grad()
def with_latent(model, w):
    """A copy of a recall model that makes its keys and values of r numbers a token: w (2·g·h, r).

    They are the nearest ones in these directions: the weights are made so, w @ (w.T @ weights).

    >>> from course_utils.experiments.recall import RecallModel
    >>> made = with_latent(RecallModel(), torch.eye(128)[:, :3])
    >>> torch.linalg.matrix_rank(made.attention.k_proj.weight).item()
    3
    """
    made = copy.deepcopy(model)
    k, v = made.attention.k_proj.weight, made.attention.v_proj.weight
    nearest = w @ (w.T @ torch.cat([k, v]))
    k.copy_(nearest[: len(k)])
    v.copy_(nearest[len(k) :])
    return made


@torch.no_grad()
def keys(model, ids):
    """The keys of all heads in each layer of a `Decoder`, before RoPE and after: (b·s, g·h) each.

    ids (b, s). Returns two lists, a matrix for each layer.

    >>> from course_utils.decoder import Decoder
    >>> sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2}
    >>> sizes |= {"num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 9}
    >>> model = Decoder({"model_type": "llama", "rms_norm_eps": 1e-5} | sizes)
    >>> before, after = keys(model, torch.tensor([[1, 2, 3, 4, 5]]))
    >>> before[1].shape, after[1].shape
    (torch.Size([5, 6]), torch.Size([5, 6]))
    """
    before, after = [], []
    x = model.architecture.embed_factor * model.embed_tokens(ids)
    for layer, rope in zip(model.layers, model.ropes, strict=True):
        norm, *_ = layer.norms()
        k = layer.self_attn.keys(norm(x))
        before.append(merge_heads(k).flatten(0, 1))
        after.append(merge_heads(rope(k, 0)).flatten(0, 1))
        x, _ = layer(x, None, rope)
    return before, after
