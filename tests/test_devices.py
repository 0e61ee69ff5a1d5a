"""What a GPU is given stays there, and gives the numbers of the CPU.

The numbers are compared on every device there is: with float64 on the CPU, attention and modules
to 1e-5 in float32, and with what half precision was given, to 0.002 in float16 and 0.02 in
bfloat16; losses of the first ten steps of training to 0.001.

That nothing is left on the CPU is tested everywhere, with the device "meta": its tensors have
shapes and no numbers. `OneDevice` raises where a GPU would.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_utils import rope
from course_utils.attention import (
    GroupedQueryAttention,
    attention,
    causal_attention,
    decode_attention,
    multi_head_attention,
)
from course_utils.decoder import Decoder
from course_utils.experiments import decode_times, recall
from course_utils.experiments.recall import RecallModel, examples
from course_utils.kv_cache import KVCache, decode_step
from makers import decode_times as maker

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
META = torch.device("meta")
device = pytest.mark.parametrize("device", DEVICES)
B, N, T, S, H = 2, 8, 4, 7, 16


class OneDevice(TorchDispatchMode):
    """An operation on tensors of two devices raises; only copies, and single numbers, may."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.ndim]
        places = {x.device.type for x in tensors}
        if len(places) > 1 and "copy" not in str(operation):
            raise RuntimeError(f"{operation} of tensors on {places}")
        return operation(*args, **(kwargs or {}))


def test_one_device_raises_where_a_gpu_would():
    here, there = torch.ones(3, 3), torch.ones(3, 3, device="meta")
    for mix in (torch.mm, torch.add, lambda x, y: torch.cat([x, y])):
        with OneDevice(), pytest.raises(RuntimeError, match="of tensors on"):
            mix(here, there)
    with OneDevice():
        assert (here.to(META) @ there).device == META


def qkv(g, t, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    shapes = (B, N, t, H), (B, g, S, H), (B, g, S, H)
    return [torch.randn(x, generator=random, dtype=torch.float64).to(dtype) for x in shapes]


def cached(q, k, v):
    """What a cache gives that holds all but the last tokens, and is asked for those."""
    cache = KVCache(*k.shape[:2], S + 2, H, dtype=k.dtype, device=k.device)
    old = S - q.shape[2]
    cache.append(k[:, :, :old], v[:, :, :old])
    return decode_step(q, k[:, :, old:], v[:, :, old:], cache)


FUNCTIONS = {
    "attention": (T, lambda q, k, v: attention(q, k, v)[0]),
    "causal_attention": (T, lambda q, k, v: causal_attention(q, k, v)[0]),
    "decode_attention": (1, decode_attention),
    "a cache, one token": (1, cached),
    "a cache, many tokens": (T, cached),
    "a whole prompt": (S, decode_times.prefill),
    **{
        form: (1, function)
        for form, function in (decode_times.FORMS | decode_times.REPEATED).items()
    },
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
groups = pytest.mark.parametrize("g", [8, 4, 1])


@functions
@groups
def test_attention_leaves_nothing_on_the_cpu(name, g):
    t, function = FUNCTIONS[name]
    with OneDevice():
        output = function(*(x.to(META) for x in qkv(g, t, torch.float16)))
    assert output.device == META and output.shape == (B, N, t, H)


@functions
@groups
@device
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_attention_gives_the_numbers_of_float64_on_the_cpu(name, g, device, dtype):
    t, function = FUNCTIONS[name]
    inputs = qkv(g, t, dtype)
    expected = function(*(x.double() for x in inputs))
    output = function(*(x.to(device) for x in inputs)).cpu().double()
    torch.testing.assert_close(output, expected, atol=TOLERANCE[dtype], rtol=0)


def test_rows_of_groups_take_what_the_kernel_returns(monkeypatch):
    """The memory-efficient kernel, all that a T4 has, returns a tensor that is laid out otherwise."""
    fused = decode_times.scaled_dot_product_attention
    other = lambda *x: fused(*x).transpose(1, 2).contiguous().transpose(1, 2)  # noqa: E731
    monkeypatch.setattr(decode_times, "scaled_dot_product_attention", other)
    q, k, v = qkv(2, 1)
    torch.testing.assert_close(decode_times.as_rows(q, k, v), attention(q, k, v)[0])


def layer(x):
    """A layer with a cache and rotation, in two parts."""
    module = GroupedQueryAttention(24, 6, 3, 4).to(x)
    inv_freq = rope.frequencies(4)
    cache = KVCache(B, 3, S, 4, dtype=x.dtype, device=x.device)
    turn = lambda y, start: rope.rotate(y, start, inv_freq)  # noqa: E731
    return torch.cat([module(part, cache, turn)[0] for part in (x[:, :3], x[:, 3:])], dim=1)


def decoder(x):
    """The logits of a small decoder with x's kind of numbers, of always the same tokens and step."""
    config = {
        "model_type": "llama", "hidden_size": 24, "num_attention_heads": 6,
        "num_key_value_heads": 3, "num_hidden_layers": 2, "vocab_size": 11,
        "intermediate_size": 40, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    ids = torch.arange(B * S, device=x.device).view(B, S) % 11
    model = Decoder(config).to(x)
    step, _ = maker.whole_step(model, B, S)()
    return torch.cat([model(ids)[0], step], dim=1)


def heads(x):
    w = torch.randn(4, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return multi_head_attention(x, *w.to(x) / 5, n_heads=4)[0]


modules = pytest.mark.parametrize("module", [layer, decoder, heads])


@modules
def test_a_module_leaves_nothing_on_the_cpu(module):
    x = torch.ones(B, S, 24)
    with OneDevice():
        assert module(x.to(META)).device == META


@modules
@device
def test_a_module_gives_the_numbers_of_float64_on_the_cpu(module, device):
    x = torch.randn(B, S, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = []
    for of_device in (x.to(device, torch.float32), x):
        torch.manual_seed(0)  # the weights
        outputs.append(module(of_device).cpu().double())
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=0)


def test_the_recall_model_leaves_nothing_on_the_cpu():
    *given, _ = examples(2, torch.Generator().manual_seed(0))
    model = RecallModel(8, 2).to("meta")
    with OneDevice():
        logits, weights = model(*(x.to(META) for x in given))
    assert logits.device == weights.device == META


@device
def test_training_starts_as_in_float64_on_the_cpu(device, one_thread):
    """Later it does not: tiny differences grow, until they are as large as between two seeds."""
    losses = []
    for place, dtype in ((device, torch.float32), ("cpu", torch.float64)):
        torch.manual_seed(0)
        losses.append(recall.train(RecallModel(8, 2).to(place, dtype), steps=10, seed=0))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


@device
def test_a_trained_model_answers_as_in_float64_on_the_cpu(device):
    model = recall.load("n8-g2-seed0")
    found = recall.evaluate(model.to(device))
    assert found == pytest.approx(recall.evaluate(model.to("cpu", torch.float64)), abs=1e-4)


@pytest.mark.parametrize("device", [*DEVICES, "meta"])
def test_decode_steps_are_timed_where_and_in_what_they_are_asked_for(device):
    seen = set()
    form = lambda *x: seen.update((y.device.type, y.dtype) for y in x)  # noqa: E731
    decode_times.time_forms({"": form}, 4, 2, 8, 16, torch.float16, device, repeats=2)
    assert seen == {(device, torch.float16)}
    dtype = torch.float32 if device == "cpu" else torch.bfloat16  # there it takes a minute
    assert decode_times.bandwidth(device) > 0 and decode_times.peak(dtype, device) > 0
