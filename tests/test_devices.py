"""What a GPU is given stays there, and gives the numbers of the CPU.

A tensor on the device "meta" has a shape and no numbers; mixing it with one of the CPU is an error,
as it is on a GPU. So half of this is tested everywhere, and the numbers on whatever devices there
are: float32, at most 1e-5 from float64 on the CPU.
"""

import pytest
import torch

from course_utils import recall, roofline, rope
from course_utils.attention import (
    GroupedQueryAttention,
    attention,
    causal_attention,
    decode_attention,
    multi_head_attention,
)
from course_utils.decoder import Decoder
from course_utils.kv_cache import KVCache, decode_step
from course_utils.recall import RecallModel, examples

REAL = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
real = pytest.mark.parametrize("device", REAL)
every = pytest.mark.parametrize("device", [*REAL, "meta"])
B, N, G, T, S, H = 2, 6, 3, 4, 7, 5


def qkv(t=T, s=S):
    random = torch.Generator().manual_seed(0)
    shapes = (B, N, t, H), (B, G, s, H), (B, G, s, H)
    return [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]


def on(device, tensors):
    return [x.to(device, torch.float32) for x in tensors]


def cached(q, k, v):
    """What a cache gives that holds all but the last tokens, and is asked for those."""
    cache = KVCache(B, G, S + 2, H, dtype=k.dtype, device=k.device)
    old = S - q.shape[2]
    cache.append(k[:, :, :old], v[:, :, :old])
    return decode_step(q, k[:, :, old:], v[:, :, old:], cache)


FUNCTIONS = {
    "attention": (T, lambda q, k, v: attention(q, k, v)[0]),
    "causal_attention": (T, lambda q, k, v: causal_attention(q, k, v)[0]),
    "decode_attention": (1, decode_attention),
    "a cache, one token": (1, cached),
    "a cache, many tokens": (T, cached),
    **{form: (1, function) for form, function in (roofline.FORMS | roofline.REPEATED).items()},
}


@every
@pytest.mark.parametrize("name", FUNCTIONS)
def test_attention_stays_on_its_device(name, device):
    t, function = FUNCTIONS[name]
    output = function(*on(device, qkv(t)))
    assert output.device.type == device and output.shape == (B, N, t, H)


@real
@pytest.mark.parametrize("name", FUNCTIONS)
def test_attention_gives_the_numbers_of_float64_on_the_cpu(name, device):
    t, function = FUNCTIONS[name]
    expected = function(*qkv(t))
    output = function(*on(device, qkv(t))).cpu().double()
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


def layer(x):
    """A layer with a cache and rotation, in two parts."""
    torch.manual_seed(0)
    module = GroupedQueryAttention(24, N, G, 4).to(x)
    inv_freq = rope.frequencies(4)
    cache = KVCache(B, G, S, 4, dtype=x.dtype, device=x.device)
    turn = lambda y, start: rope.rotate(y, start, inv_freq)  # noqa: E731
    parts = [module(part, cache, turn)[0] for part in (x[:, :3], x[:, 3:])]
    return torch.cat(parts, dim=1)


def decoder(x):
    """The logits of a small decoder with x's numbers, of tokens that are always the same."""
    torch.manual_seed(0)
    config = {
        "model_type": "llama", "hidden_size": 24, "num_attention_heads": N,
        "num_key_value_heads": G, "num_hidden_layers": 2, "vocab_size": 11,
        "intermediate_size": 40, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    ids = torch.arange(B * S, device=x.device).view(B, S) % 11
    return Decoder(config).to(x)(ids)[0]


def heads(x):
    w = torch.randn(4, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return multi_head_attention(x, *w.to(x) / 5, n_heads=4)[0]


MODULES = [layer, decoder, heads]


@every
@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_on_its_device(module, device):
    assert module(torch.ones(B, S, 24, device=device)).device.type == device


@real
@pytest.mark.parametrize("module", MODULES)
def test_a_module_gives_the_numbers_of_float64_on_the_cpu(module, device):
    x = torch.randn(B, S, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = module(x.to(device, torch.float32)).cpu().double()
    torch.testing.assert_close(output, module(x), atol=1e-4, rtol=0)


@every
def test_the_recall_model_answers_where_it_is(device):
    *given, _ = examples(2, torch.Generator().manual_seed(0), device=device)
    logits, weights = RecallModel(8, 2).to(device)(*given)
    assert logits.device.type == weights.device.type == device


@real
def test_training_starts_alike_on_every_device(device, one_thread):
    """Later it does not: tiny differences grow, as between two seeds."""
    losses = {}
    for place in ("cpu", device):
        torch.manual_seed(0)
        losses[place] = recall.train(RecallModel(8, 2).to(place), steps=10, seed=0)
    assert losses[device] == pytest.approx(losses["cpu"], abs=1e-3)


@real
def test_a_trained_model_answers_alike_on_every_device(device):
    model = recall.load("recall-n8-g8-seed0").to(device)
    accuracy, loss = recall.evaluate(model)
    assert (accuracy, loss) == pytest.approx(recall.evaluate(model.cpu()), abs=1e-4)
    assert accuracy > 0.999


@every
def test_decode_steps_are_timed_where_they_are(device):
    times = roofline.decode_times(
        roofline.FORMS | roofline.REPEATED, 4, 2, 8, 16, device=device, repeats=2
    )
    assert len(times) == 5
    assert roofline.bandwidth(device) > 0 and roofline.peak(device=device) > 0
