"""Recall over a distance: doors told long ago, and a small decoder whose layers may see a window.

A text has 64 rows. Each of 32 doors comes twice: first with the room behind it, later as a
question. One look back answers it, so the share of right answers against how far that lies back
shows how far a model sees. b texts, t rows.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from course_utils import rope
from course_utils.attention import GroupedQueryAttention, attention, causal_mask, merge_heads
from course_utils.experiments.recall import schedule

N_DOORS, N_ROOMS = 32, 16  # who must guess is right 1/16 of the time


def examples(batch, generator):
    """Texts drawn at random: doors (b, 64), the rooms behind them (b, 64), and distance (b, 64).

    distance counts the rows back to where the door was told; it is 0 where it is told now.

    >>> doors, rooms, distance = examples(1, torch.Generator().manual_seed(0))
    >>> row = distance[0].argmax()  # the question that reaches farthest back
    >>> told = row - distance[0, row]
    >>> doors[0, row] == doors[0, told], rooms[0, row] == rooms[0, told]
    (tensor(True), tensor(True))
    """
    doors = torch.rand(batch, 2 * N_DOORS, generator=generator).argsort(dim=1) % N_DOORS
    rooms = torch.randint(N_ROOMS, (batch, N_DOORS), generator=generator).gather(1, doors)
    rows = torch.arange(2 * N_DOORS)
    earlier = (doors[:, :, None] == doors[:, None]).tril(-1)
    return doors, rooms, (earlier * (rows[:, None] - rows)).amax(dim=2)


def window_mask(t, window):
    """Which of t rows each may see: itself and the window - 1 before it; None: all before it.

    Returns (t, t) bool, True = may attend.

    >>> window_mask(4, window=2).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    mask = causal_mask(t, t)
    return mask if window is None else mask.triu(1 - window)


class Layer(nn.Module):
    """Attention under a mask, then an MLP, each on a normalised x and added to it."""

    def __init__(self, d_model, n_heads, n_kv_heads, d_ff):
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.RMSNorm(d_model), nn.RMSNorm(d_model)
        self.attention = GroupedQueryAttention(d_model, n_heads, n_kv_heads)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))
        self.inv_freq = rope.frequencies(self.attention.head_dim, theta=100.0)  # texts are short

    def forward(self, x, mask):
        normed, of = self.attention_norm(x), self.attention
        q, k = (
            rope.rotate(rows, 0, self.inv_freq) for rows in (of.queries(normed), of.keys(normed))
        )
        output, _ = attention(q, k, of.values(normed), mask)
        x = x + of.o_proj(merge_heads(output))
        return x + self.mlp(self.mlp_norm(x))


class DistanceModel(nn.Module):
    """A decoder of as many layers as there are windows; None is a layer that sees all.

    forward: doors, rooms and distance, (b, t) each → logits (b, t, 16); of a question it is not
    told the room.

    >>> given = examples(2, torch.Generator().manual_seed(0))
    >>> DistanceModel(windows=[8, 8, 8, None])(*given).shape
    torch.Size([2, 64, 16])
    """

    def __init__(self, windows, d_model=64, n_heads=4, n_kv_heads=2, d_ff=128):
        super().__init__()
        self.windows = windows
        self.door = nn.Embedding(N_DOORS, d_model)
        self.room = nn.Embedding(N_ROOMS + 1, d_model)  # the last one asks
        self.layers = nn.ModuleList(Layer(d_model, n_heads, n_kv_heads, d_ff) for _ in windows)
        self.norm, self.answer = nn.RMSNorm(d_model), nn.Linear(d_model, N_ROOMS, bias=False)

    def forward(self, doors, rooms, distance):
        x = self.door(doors) + self.room(rooms.where(distance == 0, N_ROOMS))
        for layer, window in zip(self.layers, self.windows, strict=True):
            x = layer(x, window_mask(doors.shape[1], window))
        return self.answer(self.norm(x))


def train(model, steps, seed, rate=3e-3):
    """Train the model in place on fresh texts; one thread: the same every time.

    Returns the losses, one a step.

    >>> _ = torch.manual_seed(0)  # the model's first weights
    >>> losses = train(DistanceModel([8]), steps=2, seed=0)
    >>> len(losses)
    2
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    losses = []
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * schedule(step, steps)
        doors, rooms, distance = examples(64, generator)
        asked = distance > 0
        loss = cross_entropy(model(doors, rooms, distance)[asked], rooms[asked])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def evaluate(model, batch=2048):
    """What is answered against the distance, on texts that are always the same.

    Returns {distance: (the share of right answers, of how many)}, for 1 to 63.
    """
    doors, rooms, distance = examples(batch, torch.Generator().manual_seed(10_000))
    right = model(doors, rooms, distance).argmax(dim=-1) == rooms
    return {
        i: (right[distance == i].double().mean().item(), (distance == i).sum().item())
        for i in range(1, 2 * N_DOORS)
    }
