"""Exercise of lesson 07: make one K/V head out of a group of neighbours."""

import torch

from course_utils.checks.draws import drawing, order, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import answer, refusals
from course_utils.pooling import first_head_kv, mean_pool_kv


def sharing(n, g, h, d, dtype=None):
    """Whether g divides n, how it compares with r, and whether n divides d."""
    return n % g == 0, order(n // g, g), d % n == 0


@redrawable(resized(most=24, kept=sharing))
def projection(n, g, h, d, dtype=torch.float64, seed=0):
    """k_proj.weight (n·h, d), n and g."""
    random = torch.Generator().manual_seed(n * g * h * d + seed)
    return torch.randn(n * h, d, generator=random, dtype=torch.float64).to(dtype), n, g


def heads_of(weight, n_heads, n_kv_heads):
    """n and g."""
    return n_heads, n_kv_heads


def pool(fn, weight, n_heads, n_kv_heads):
    """What fn gives; where n % g is not 0, how it refuses.

    NumPy has no bfloat16: who uses it is asked for float16 there.
    """
    try:
        return answer(n_heads, n_kv_heads, lambda: fn(weight, n_heads, n_kv_heads))
    except TypeError as error:
        if "BFloat16" not in str(error):
            raise
        got = fn(weight.half(), n_heads, n_kv_heads)
        return got.bfloat16() if got.dtype == torch.float16 else got


def unchecked(weight, n, g):
    """Right where n % g == 0, and an error of PyTorch's elsewhere."""
    return by_shape(weight.view(n, -1, weight.shape[1]).unflatten(0, (g, n // g)))


def by_shape(groups):
    """The mean of groups (g, r, h, d) over r, as (g·h, d)."""
    return groups.mean(1).flatten(0, 1)


def cut(weight, groups, members):
    """The rows of weight cut into so many groups of so many heads, and pooled."""
    return by_shape(weight.unflatten(0, (groups, members, -1)))


def strided(weight, n, g):
    """Head i in group i mod g."""
    return weight.unflatten(0, (n // g, g, -1)).mean(0).flatten(0, 1)


def columns(weight, n, g):
    """The columns cut into heads: the input of the projection, not its output."""
    return weight.unflatten(1, (g, n // g, -1)).mean(2).flatten(1, 2)


def within_heads(weight, n, g):
    """The h rows of each head averaged: (n, d)."""
    return weight.unflatten(0, (n, -1)).mean(1)


def neighbouring_rows(weight, n, g):
    """The rows cut into blocks of r that lie side by side, and each block averaged."""
    return weight.unflatten(0, (-1, n // g)).mean(1)


def last_head(weight, n, g):
    """The last head of each group."""
    return weight.unflatten(0, (g, n // g, -1))[:, -1].flatten(0, 1)


def repeated(weight, n, g):
    """Each group's mean in the place of each of its heads: (n·h, d)."""
    groups = weight.unflatten(0, (g, n // g, -1))
    return groups.mean(1, keepdim=True).expand_as(groups).flatten(0, 2)


def of_all(weight, n, g):
    """The mean of all heads, g times."""
    return weight.unflatten(0, (n, -1)).mean(0).repeat(g, 1)


MISTAKES = {
    "every g-th head pooled, not neighbours": Mistake(
        strided,
        "Follow the heads: of six, 0 2 4 and 1 3 5 make two groups that way. But query head i "
        "reads K/V head i // r, so neighbours belong together, 0 1 2 and 3 4 5: cut the rows into "
        "(g, r, h), groups first.",
    ),
    "a sum for the mean": Mistake(
        lambda weight, n, g: n // g * mean_pool_kv(weight, n, g),
        "Keys r times as long make scores r times as large, and softmax a hard choice. Let all "
        "heads be equal: their pooled head must be that head again. Divide by r.",
    ),
    "a sum divided by n, not by r": Mistake(
        lambda weight, n, g: mean_pool_kv(weight, n, g) / g,
        "A group has r = n // g heads, and their mean is their sum / r. Let all heads be equal: "
        "their pooled head must be that head again; yours is g times smaller.",
    ),
    "a sum divided by g, not by r": Mistake(
        lambda weight, n, g: mean_pool_kv(weight, n, g) * (n / g / g),
        "A group has r = n // g heads, and their mean is their sum / r; g is how many groups there "
        "are.",
    ),
    "g and r confused": Mistake(
        lambda weight, n, g: cut(weight, n // g, g),
        "You made r groups of g heads. n_kv_heads is how many groups there are; in each are "
        "r = n_heads // n_kv_heads heads.",
    ),
    "h taken for d // n": Mistake(
        lambda weight, n, g: by_shape(
            weight.reshape(g, n // g, weight.shape[1] // n, weight.shape[1])
        ),
        "A head has h = len(weight) // n rows; d is the width of x, which need not be n·h.",
    ),
    "each group averaged to one row": Mistake(
        lambda weight, n, g: weight.reshape(g, -1, weight.shape[1]).mean(1),
        "One row a group is left. The mean is over the r heads, and h rows stay: cut into "
        "(g, r, h, d).",
    ),
    "the mean over the groups": Mistake(
        lambda weight, n, g: weight.unflatten(0, (g, n // g, -1)).mean(0).flatten(0, 1),
        "The first axis of (g, r, h, d) counts groups, and these must stay: mean(1), over the r "
        "heads of each.",
    ),
    "rows taken for heads": Mistake(
        lambda weight, n, g: torch.stack(
            [weight[i * n // g : (i + 1) * n // g].mean(0) for i in range(g)]
        ),
        "A row is one number of a head; a head is h rows. Cut into (g, r, h, d) first.",
    ),
    "groups that overlap": Mistake(
        lambda weight, n, g: torch.cat(
            [weight.unflatten(0, (n, -1))[i : i + n // g].mean(0) for i in range(g)]
        ),
        "Group i begins at head i * r, not at head i: heads[i * r : (i + 1) * r].",
    ),
    "the columns pooled, not the rows": Mistake(
        columns,
        "nn.Linear keeps its weight as (out, in): the n · h rows make the heads, a column is one "
        "number of the input x, which every head reads. Cut axis 0.",
    ),
    "the first head of each group kept": Mistake(
        first_head_kv,
        "The other r - 1 heads of a group are lost. The lesson compares with that; here every "
        "head counts 1 / r.",
    ),
    "the last head of each group kept": Mistake(
        last_head,
        "Each head of a group overwrote the one before it. Add them up, and divide by r.",
    ),
    "the first g heads kept": Mistake(
        lambda weight, n, g: weight[: len(weight) // n * g],
        "That drops n - g heads. Each group of r neighbours gives one head, their mean.",
    ),
    "the rows within a head averaged": Mistake(
        within_heads,
        "Of each head one row is left: h is 1 now. Row 0 of the heads of a group makes row 0 of "
        "the pooled head, row 1 makes row 1: the mean is over heads, the axis of length r.",
    ),
    "neighbouring rows averaged, not neighbouring heads": Mistake(
        neighbouring_rows,
        "The shape is right. But rows that lie side by side are different numbers of a head: from "
        "row i of a head to row i of the next it is h rows. Cut into (g, r, h), not (g, h, r).",
    ),
    "each mean repeated for all heads of its group": Mistake(
        repeated,
        "There are n heads still, r equal ones a group, and the cache is as large as before. "
        "Return each mean once, g · h rows: attention shares it.",
    ),
    "one mean of all heads": Mistake(
        lambda weight, n, g: mean_pool_kv(weight, n, 1),
        "That is right for g = 1 only, multi-query attention. Each group has a mean of its own.",
    ),
    "the mean of all heads for every group": Mistake(
        of_all,
        "The shape is right, but all groups have the same head, the mean of all n. Each group has "
        "a mean of its own, over its r heads.",
    ),
    "the result left in groups": Mistake(
        lambda weight, n, g: mean_pool_kv(weight, n, g).unflatten(0, (g, -1)),
        "The numbers are right, on three axes. nn.Linear needs two, (g · h, d): flatten(0, 1).",
    ),
    "the result transposed": Mistake(
        lambda weight, n, g: mean_pool_kv(weight, n, g).T,
        "The numbers are right. nn.Linear keeps its weight as (out, in), (g · h, d): no .T.",
    ),
    "n % g ≠ 0 accepted": Mistake(
        lambda weight, n, g: torch.cat(
            [weight.unflatten(0, (n, -1))[i * n // g : (i + 1) * n // g].mean(0) for i in range(g)]
        ),
        "Six heads cannot be pooled evenly to four, yet there was no error, and nobody would have "
        "noticed. Raise a ValueError.",
    ),
    **refusals(mean_pool_kv, heads_of, unchecked),
}

EXERCISES = {
    "07.mean_pool_kv": Exercise(
        reference=mean_pool_kv,
        more="refuses rows that make no whole heads",
        **drawing(
            projection(4, 2, 2, 4),
            projection(12, 4, 7, 24),
            projection(6, 2, 5, 12),
            projection(6, 3, 4, 18),
            projection(5, 5, 3, 10),
            projection(6, 1, 5, 12),
            projection(2, 2, 2, 2),
            projection(1, 1, 4, 6),
            projection(1, 1, 4, 1),
            projection(6, 2, 1, 12),
            projection(8, 2, 3, 16, torch.float32),
            projection(8, 4, 3, 16, torch.bfloat16),
            projection(6, 4, 2, 12),
            projection(8, 3, 2, 16),
        ),
        returns=("the pooled weight",),
        mistakes=MISTAKES,
        hints=(
            "The rows of weight are the heads, one under the other: rows 0 to h - 1 are head 0, "
            "the next h are head 1.",
            "r = n_heads // n_kv_heads neighbours make a group: weight.unflatten(0, "
            "(n_kv_heads, r, -1)) is (g, r, h, d), a view.",
            "The mean over axis 1 leaves (g, h, d), and flatten(0, 1) lays the heads one under the "
            "other again. Where n % g is not 0, raise a ValueError first.",
        ),
        play=pool,
    )
}
