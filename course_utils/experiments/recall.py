"""The recall task: eight doors, six questions at once, a small model that learns to answer them.

Every door has six attributes, and behind it is a room. A question row asks, for all six attributes
at once, which room is behind the door with a given value. One head can look one attribute up; heads
that share their keys must find all of them with the same few numbers. A toy, made so that keys are
the bottleneck. b examples, t question rows; the eight doors come first, so s = 8 + t.
"""

import json
import math
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from course_utils import data_path, did_you_mean
from course_utils.attention import GroupedQueryAttention
from course_utils.pooling import convert, mean_pool_kv

ATTRIBUTES = ("colour", "wood", "handle", "lock", "size", "floor")
N_DOORS = 8  # and so eight values an attribute: each names one door
N_ROOMS = 16
FIRST = N_DOORS * torch.arange(len(ATTRIBUTES))  # values are numbered 0 to 47 in embeddings
N_POINTS = 12  # of a learning curve
FOLDER = "checkpoints", "recall"


def examples(batch, generator, n_questions=8, device="cpu"):
    """Doors, the rooms behind them, questions and their answers, drawn at random.

    They are drawn on the CPU, and so the same whatever the device.

    Returns doors (b, 8, 6), each door's value of each attribute; rooms (b, 8); asked (b, t, 6), a
    value of each attribute; answers (b, t, 6), the room behind the door with that value.

    >>> doors, rooms, asked, answers = examples(1, torch.Generator().manual_seed(0))
    >>> rooms[0, doors[0, :, 5] == asked[0, 3, 5]] == answers[0, 3, 5]  # row 3, floor
    tensor([True])
    """
    doors = torch.rand(batch, N_DOORS, len(ATTRIBUTES), generator=generator).argsort(dim=1)
    rooms = torch.randint(N_ROOMS, (batch, N_DOORS), generator=generator)
    asked = torch.randint(N_DOORS, (batch, n_questions, len(ATTRIBUTES)), generator=generator)
    answers = rooms.gather(1, right_doors(doors, asked).flatten(1)).view_as(asked)
    return [x.to(device) for x in (doors, rooms, asked, answers)]


def right_doors(doors, asked):
    """Which door, 0 to 7, each question is about: doors (b, 8, 6), asked (b, t, 6) → (b, t, 6).

    >>> doors, _, asked, _ = examples(1, torch.Generator().manual_seed(0))
    >>> doors[0, right_doors(doors, asked)[0, 3, 5], 5] == asked[0, 3, 5]
    tensor(True)
    """
    return doors.argsort(dim=1).gather(1, asked)  # what sorts a permutation is its inverse


def on_right_door(weights, right):
    """How much weight each head puts on the right door: weights (b, n, t, s) → (n, 6), 0 to 1.

    right (b, t, 6) are the `right_doors`; the mean over all question rows. A head that
    looks at all doors alike has 1/8.

    >>> on_right_door(torch.eye(8)[None, None], torch.arange(8).view(1, 8, 1)).item()
    1.0
    """
    of_heads = right[:, None].expand(-1, weights.shape[1], -1, -1)
    return weights.gather(-1, of_heads).mean(dim=(0, 2))


class RecallModel(nn.Module):
    """One layer of grouped-query attention, and an answer for every attribute.

    n_kv_heads=None is MHA. forward: doors (b, 8, 6), rooms (b, 8), asked (b, t, 6) → logits
    (b, t, 6, 16), weights (b, n, t, 8 + t) of the question rows; the first 8 columns are the doors.
    A cache, empty, may change keys and values on their way, as `bits.RoundedCache` does.

    Raises ValueError if n is not divisible by g.

    >>> *given, answers = examples(2, torch.Generator().manual_seed(0))
    >>> logits, weights = RecallModel(n_heads=8, n_kv_heads=2)(*given)
    >>> logits.shape, weights.shape
    (torch.Size([2, 8, 6, 16]), torch.Size([2, 8, 8, 16]))
    """

    def __init__(self, n_heads=8, n_kv_heads=None, d_model=64, head_dim=8, d_ff=128):
        super().__init__()
        self.sizes = {"n_heads": n_heads, "n_kv_heads": n_kv_heads or n_heads, "d_model": d_model}
        self.sizes |= {"head_dim": head_dim, "d_ff": d_ff}
        self.register_buffer("first", FIRST, persistent=False)  # goes to the model's device
        self.value = nn.Embedding(len(ATTRIBUTES) * N_DOORS, d_model)  # as a door has it
        self.question = nn.Embedding(len(ATTRIBUTES) * N_DOORS, d_model)  # as a question asks it
        self.room = nn.Embedding(N_ROOMS, d_model)
        self.attention_norm = nn.RMSNorm(d_model)
        self.attention = GroupedQueryAttention(d_model, n_heads, n_kv_heads, head_dim)
        self.ffn_norm = nn.RMSNorm(d_model)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))
        self.answer_norm = nn.RMSNorm(d_model)
        self.answer = nn.Linear(d_model, len(ATTRIBUTES) * N_ROOMS)

    def forward(self, doors, rooms, asked, cache=None):
        t = asked.shape[1]
        x = torch.cat([self.door_rows(doors, rooms), self.question_rows(asked)], dim=1)
        output, weights = self.attention(self.attention_norm(x), cache)
        x = (x + output)[:, -t:]
        x = x + self.ffn(self.ffn_norm(x))
        return self.answer(self.answer_norm(x)).view(*asked.shape, N_ROOMS), weights[:, :, -t:]

    def door_rows(self, doors, rooms):
        """The rows of the doors before norm and attention: (b, 8, d)."""
        return self.value(doors + self.first).sum(dim=2) + self.room(rooms)

    def question_rows(self, asked):
        """The question rows before norm and attention: (b, t, d)."""
        return self.question(asked + self.first).sum(dim=2)

    def keys(self, doors, rooms):
        """The keys of the doors: (b, g, 8, h)."""
        return self.attention.keys(self.attention_norm(self.door_rows(doors, rooms)))

    def queries(self, asked):
        """The queries of the question rows: (b, n, t, h)."""
        return self.attention.queries(self.attention_norm(self.question_rows(asked)))


def train(model, steps, seed, watch=None, rate=5e-3):
    """Train the model in place, on its device, on fresh examples; one thread: the same every time.

    watch(step, loss) is called after each step, 1 to steps; rate is the highest learning rate.
    Returns the losses, one a step.

    Raises ValueError if steps is less than 1.

    >>> _ = torch.manual_seed(0)  # the model's first weights
    >>> losses = train(RecallModel(n_kv_heads=2), steps=2, seed=0)
    >>> len(losses)
    2
    """
    if steps < 1:
        raise ValueError(f"steps ({steps}) must be at least 1; 600 are about five seconds")
    generator, device = torch.Generator().manual_seed(seed), model.answer.weight.device
    optimizer = torch.optim.AdamW(model.parameters())
    losses = []
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * schedule(step, steps)
        *given, answers = examples(128, generator, device=device)
        loss = cross_entropy(model(*given)[0].flatten(0, 2), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if watch:
            watch(step, losses[-1])
    return losses


def schedule(step, steps):
    """The share of the highest learning rate at a step, 1 to steps: a short rise, a long fall.

    >>> [round(schedule(step, 40), 2) for step in (1, 2, 21, 40)]
    [0.5, 1.0, 0.5, 0.0]
    """
    return min(1, 20 * step / steps) * (1 + math.cos(math.pi * (step - 1) / steps)) / 2


@torch.no_grad()
def evaluate(model):
    """Accuracy (0 to 1) and loss (nats an answer) on 1024 examples, always the same.

    Who sees the rooms but cannot tell which door is meant does best to name the commonest of the
    eight: right .26 of the time, and about what a model gets where it has not learnt an attribute.

    >>> evaluate(load("n8-g8-seed0"))[0] > 0.99
    True
    """
    device = model.answer.weight.device
    *given, answers = examples(1024, torch.Generator().manual_seed(10_000), device=device)
    logits, _ = model(*given)
    right = (logits.argmax(dim=-1) == answers).double().mean()
    return right.item(), cross_entropy(logits.flatten(0, 2), answers.flatten()).item()


def learning_curve(model, steps, seed, bar=None, rate=5e-3):
    """Train the model in place and measure it twelve times on the way, last when it is done.

    The arguments are those of `train`, and the name of a progress bar, if there is to be one.
    Returns (step, accuracy, loss) of each point, as `evaluate` has them; at every step if there are
    fewer than twelve. The training is the same as without.

    >>> _ = torch.manual_seed(0)
    >>> points = learning_curve(RecallModel(n_kv_heads=2), steps=24, seed=0)
    >>> [step for step, accuracy, loss in points]
    [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    """
    points, look = [], {"file": sys.stdout, "bar_format": "{desc} {bar:40} {n} of {total} steps"}
    with tqdm(total=steps, desc=bar, disable=bar is None, mininterval=0.3, **look) as progress:

        def measure(step, loss):
            if step * N_POINTS % steps < N_POINTS:
                points.append((step, *evaluate(model)))
            progress.update()

        train(model, steps, seed, measure, rate)
    return points


def converted(model, n_kv_heads, pool=mean_pool_kv):
    """A new `RecallModel` with g K/V heads, made from the weights of one that has more.

    Raises ValueError as `pooling.convert` does.

    >>> converted(load("n8-g8-seed0"), n_kv_heads=2).attention.k_proj.weight.shape
    torch.Size([16, 64])
    """
    weights = convert(model.state_dict(), model.sizes["n_kv_heads"], n_kv_heads, pool)
    smaller = RecallModel(**model.sizes | {"n_kv_heads": n_kv_heads})
    smaller.load_state_dict(weights)
    return smaller


def load(name):
    """A trained model of data/checkpoints/recall; its weights are stored in half precision.

    Raises KeyError with the nearest names if it is none of them.

    >>> load("n8-g1-seed0").attention.k_proj.weight.shape
    torch.Size([8, 64])
    """
    paths = {path.stem: path for path in sorted(data_path(*FOLDER).glob("*.safetensors"))}
    if name not in paths:
        there = f"there are {', '.join(paths)}"
        raise KeyError(f"no checkpoint named {name!r}; {did_you_mean(name, paths, there)}")
    with safe_open(paths[name], "pt") as file:
        model = RecallModel(**json.loads(file.metadata()["sizes"]))
        model.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return model


def save(model, name):
    """Store a model for `load`, in half precision."""
    weights = {key: x.half() for key, x in model.state_dict().items()}
    path = data_path(*FOLDER) / f"{name}.safetensors"
    save_file(weights, path, {"sizes": json.dumps(model.sizes)})
