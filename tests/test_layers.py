"""Laws of course_utils.layers: what kinds of layers keep, against tensors that a loop makes."""

import dataclasses
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils.geometry import Geometry
from course_utils.layers import LETTERS, Layers, grouped, parse

small = st.integers(1, 4)
GEMMA = "10 × g 16 h 128; 52 × g 16 h 128 window 1024"


@st.composite
def some_layers(draw):
    """Layers that keep something."""
    numbers = {name: draw(st.integers(0, 4)) for name in ("latent_dim", "index_dim", "state")}
    if draw(st.booleans()):
        numbers |= {"n_kv_heads": draw(small), "key_dim": draw(small)}
        numbers["value_dim"] = draw(st.integers(0, 4))
    numbers["state"] += not any(numbers.values())
    window, every = draw(st.none() | small), draw(small)
    return Layers(draw(small), window=window, every=every, cross=draw(st.booleans()), **numbers)


def tensors(x, n_tokens, batch):
    """What such layers keep of a text that is written token by token: one tensor for each thing."""
    for _ in range(x.n_layers):
        rows = [*range(n_tokens)][-x.window :] if x.window else [*range(n_tokens)]
        entries = [rows[i : i + x.every] for i in range(0, len(rows), x.every)]
        s = sum(len(entry) == x.every for entry in entries)  # what is not full is not yet kept
        yield torch.zeros(batch, x.n_kv_heads, s, x.key_dim)
        yield torch.zeros(batch, x.n_kv_heads, s, x.value_dim)
        yield torch.zeros(batch, s, x.latent_dim)
        yield torch.zeros(batch, s, x.index_dim)
        yield torch.zeros(batch, x.state)


@given(x=some_layers(), s=st.integers(0, 9), b=small)
def test_bytes_are_those_of_tensors_for_every_kind(x, s, b):
    assert x.n_bytes(s, b, 4) == sum(made.nbytes for made in tensors(x, s, b))


@given(x=some_layers(), s=st.integers(0, 9), b=small)
def test_quantized_tokens_shrink_and_a_state_does_not(x, s, b):
    stays = x.n_bytes(0, b, 2)
    assert 2 * (x.n_bytes(s, b, 1) - stays) == x.n_bytes(s, b, 2) - stays
    assert stays == 2 * x.n_layers * b * x.state == x.n_bytes(0, b, 0.5)


@given(x=some_layers(), s=st.integers(0, 40), block=st.integers(1, 16))
def test_blocks_round_up_by_less_than_one(x, s, block):
    kept = x.kept(s, block)
    assert kept % block == 0
    assert 0 <= kept - x.kept(s) < block


@given(x=some_layers(), s=st.integers(0, 9), t=st.integers(1, 9))
def test_GPUs_share_heads_and_copy_the_rest(x, s, t):
    one, each = x.n_bytes(s), x.n_bytes(s, n_gpus=t)
    assert t * each >= one  # nothing is lost
    assert each <= one
    if x.n_kv_heads % t == x.latent_dim == x.index_dim == x.state == 0:
        assert t * each == one
    alone = dataclasses.replace(x, n_kv_heads=0, key_dim=0, value_dim=0, state=0, latent_dim=3)
    assert alone.n_bytes(s, n_gpus=t) == alone.n_bytes(s)


def test_with_fewer_heads_than_GPUs_they_are_copied():
    mqa, eight = Layers(80, 1, 128, 128), Layers(80, 8, 128, 128)
    assert mqa.n_bytes(8192, n_gpus=8) == eight.n_bytes(8192, n_gpus=8) == mqa.n_bytes(8192)


# The notation


@given(x=some_layers())
def test_the_notation_means_what_it_was_written_from(x):
    assert parse(str(x)) == (x,)


@pytest.mark.parametrize(
    "text",
    [
        GEMMA,
        "9 × g 4 k 192 v 128; 39 × g 8 k 192 v 128 window 128",
        "61 × latent 576 index 128",
        "12 × g 2 h 256; 36 × state 540672",
        "30 × g 1 k 512 window 128; 30 × g 1 k 512 index 128 every 4",
        "32 × g 8 h 128; 8 × g 8 h 128 cross",
        "44 × g 8 h 64 state 131072",
    ],
)
def test_the_notation_goes_there_and_back(text):
    assert "; ".join(map(str, parse(text))) == text


def test_every_number_but_the_count_has_a_letter():
    numbers = {x.name for x in dataclasses.fields(Layers)} - {"n_layers", "cross"}
    assert numbers == {*LETTERS.values()}
    assert parse("") == ()


@pytest.mark.parametrize(
    "text, message",
    [
        ("10 g 16", f"'10 g 16' is not in the notation of layers, as in '{GEMMA}'"),
        ("10 × h", f"'10 × h' is not in the notation of layers, as in '{GEMMA}'"),
        (
            "10 × x 3",
            "'x' in '10 × x 3' is none of h, g, k, v, latent, index, window, every, state",
        ),
        ("0 × state 3", "n_layers (0) must be at least 1"),
        ("2 × state 3 window 0", "window (0) must be at least 1"),
        ("1 × g 2 g 3 h 5", "'1 × g 2 g 3 h 5' says g twice; h is k and v"),
        ("1 × g 1 h 5 k 3", "'1 × g 1 h 5 k 3' says k twice; h is k and v"),
        (
            "1 × k 3 state 5",
            "n_kv_heads (0), key_dim (3) and value_dim (0) go together; only value_dim may be 0, "
            "where V is K",
        ),
    ],
)
def test_what_is_not_in_the_notation_is_refused(text, message):
    with pytest.raises(ValueError) as error:
        parse(text)
    assert str(error.value) == message


def test_layers_that_keep_nothing_are_left_out():
    with pytest.raises(ValueError, match="keep nothing; leave out such layers"):
        Layers(3)
    with pytest.raises(ValueError, match=re.escape("state (-1) must be at least 0")):
        Layers(3, state=-1)


def test_equal_layers_are_one_kind_in_the_order_of_the_first():
    near, far = Layers(1, 2, 4, 4, window=3), Layers(1, 2, 4, 4)
    assert grouped([near, near, far, near]) == (
        dataclasses.replace(near, n_layers=3),
        far,
    )
    assert grouped([]) == ()


@pytest.mark.parametrize(
    "text, words",
    [
        ("3 × g 1 h 128", "1 K/V head of 128 for all tokens"),
        ("3 × g 8 h 128 window 4096", "8 K/V heads of 128 for the last 4,096 tokens"),
        ("3 × g 4 k 192 v 128", "4 K/V heads of 192 (K) and 128 (V) for all tokens"),
        (
            "3 × g 1 k 512 every 4",
            "1 K/V head of 512 (K and V in one) once for every 4 of all tokens",
        ),
        (
            "3 × latent 576 index 128",
            "a latent and RoPE key of 576 and an index key of 128 for all tokens",
        ),
        ("3 × state 1000", "a state of 1,000 numbers"),
        ("3 × g 8 h 64 state 10", "8 K/V heads of 64 for all tokens and a state of 10 numbers"),
        ("3 × g 8 h 64 cross", "8 K/V heads of 64 for what the encoder read"),
    ],
)
def test_what_a_layer_keeps_in_words(text, words):
    (x,) = parse(text)
    assert x.reading == words


# A model of several kinds


def hybrid(**more):
    layers = parse("2 × g 2 h 5; 3 × g 3 k 5 v 4 window 4; 4 × state 7; 1 × g 2 h 5 cross")
    return Geometry("hybrid", 10, 6, 2, 5, d_model=30, max_context=64, layers=layers, **more)


@given(s=st.integers(0, 9), source=st.integers(0, 9), b=small)
def test_a_model_is_the_sum_of_its_layers(s, source, b):
    near, cross = min(s, 4), 2 * source * 5 * 2
    numbers = 2 * s * 2 * 10 + 3 * near * 3 * 9 + 4 * 7 + cross
    assert hybrid().kv_bytes(s, b, n_source=source) == 2 * b * numbers
    grows = hybrid().kv_bytes(s + 1, b) - hybrid().kv_bytes(s, b)
    assert hybrid().token_bytes(s, b) == grows
    assert hybrid().token_bytes() == 2 * (2 * 2 * 10 + 3 * 3 * 9)


def test_the_numbers_of_a_model_in_words():
    m = hybrid()
    assert (m.kind, m.g, m.group_size) == ("GQA", "2 to 3", 3)
    assert m.windows == "sliding window of 4 tokens in 3 of 10 layers"
    assert not m.is_upper_bound
    assert m.reading == (
        "2 of 10 layers keep 2 K/V heads of 5 for all tokens, 3 keep 3 K/V heads of 5 (K) and 4 (V) "
        "for the last 4 tokens, 4 keep a state of 7 numbers, 1 keeps 2 K/V heads of 5 for what the "
        "encoder read"
    )
    nothing = dataclasses.replace(m, layers=(), n_heads=0, n_kv_heads=0)
    assert (nothing.kind, nothing.g, nothing.group_size) == ("none", "none", 0)
    assert nothing.kv_bytes(9) == nothing.token_bytes() == 0
    assert nothing.reading == "none of 10 layers keeps anything"


def test_another_g_is_asked_for_by_name():
    with pytest.raises(ValueError) as error:
        dataclasses.replace(hybrid(), n_kv_heads=1)
    assert str(error.value) == (
        "n_kv_heads (1) is that of no kind of layers of 'hybrid' (2, 3); try with_kv_heads(1)"
    )
    one = hybrid().with_kv_heads(1)
    assert (one.kind, {x.n_kv_heads for x in one.caches}) == ("MQA", {0, 1})
    assert one.token_bytes() == 2 * (2 * 10 + 3 * 9)
    latent = Geometry("mla", 3, 6, 6, 5, 30, latent_dim=8)
    assert latent.with_kv_heads(6).kv_bytes(1) == Geometry("mha", 3, 6, 6, 5, 30).kv_bytes(1)


@given(s=st.integers(1, 50), block=st.sampled_from([1, 16]), x=st.sampled_from([0.5, 1, 2]))
def test_simple_models_are_counted_by_the_formula(s, block, x):
    m = Geometry("simple", 3, 6, 2, 5, d_model=30)
    tokens = math.ceil(s / block) * block
    assert m.kv_bytes(s, 1, x, block=block) == math.ceil(2 * 3 * 2 * 5 * tokens * x)
    assert m.kv_bytes(s, 1, x, n_gpus=2) == m.with_kv_heads(1).kv_bytes(s, 1, x)


def test_a_model_has_no_more_layers_of_a_kind_than_layers():
    with pytest.raises(ValueError, match="9 layers of one kind are too many; n_layers is 4"):
        Geometry("x", 4, 6, 2, 5, d_model=30, layers=parse("9 × g 2 h 5"))


def test_what_an_encoder_read_is_not_negative():
    with pytest.raises(ValueError, match=re.escape("n_source (-1) must not be negative")):
        hybrid().kv_bytes(5, n_source=-1)


def test_a_window_of_several_kinds_is_said_once():
    layers = parse("2 × g 1 h 4 window 3; 3 × g 1 h 4 window 3 state 5; 1 × g 1 h 4 every 2")
    m = Geometry("v4", 5, 6, 1, 4, d_model=24, layers=layers)
    assert m.windows == "sliding window of 3 tokens in 5 of 5 layers"
