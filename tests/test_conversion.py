"""Laws of pooling and of checkpoints.conversion: pooled heads, and checkpoints that transformers loads again."""

import json
import shutil
import weakref

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from course_utils.attention import GroupedQueryAttention, split_heads
from course_utils.checkpoints import Checkpoint, conversion, convert_checkpoint, open_checkpoint
from course_utils.pooling import convert, first_head_kv, mean_pool_kv, random_kv

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = [(6, 6), (6, 3), (6, 2), (6, 1), (12, 4), (5, 1), (5, 5), (1, 1)]
POOLS = [mean_pool_kv, first_head_kv, random_kv]


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def group_means(weight, n, g, repeats=1):
    """The mean of each group, head by head in a loop, so many times one under the other."""
    h, r = weight.shape[0] // n, n // g
    heads = []
    for i in range(g):
        total = torch.zeros_like(weight[:h])
        for j in range(i * r, i * r + r):
            total = total + weight[j * h : j * h + h]
        heads += [total / r] * repeats
    return torch.cat(heads)


# The three ways to pool


@pytest.mark.parametrize("n, g", CASES)
@pytest.mark.parametrize("shape", [(5, 7), (3, 2), (1, 4), (5,)])
def test_the_mean_is_that_of_a_loop_over_groups(n, g, shape):
    h, *rest = shape
    weight = draw(n * h, *rest)
    expected = group_means(weight, n, g)
    assert expected.shape == (g * h, *rest)
    torch.testing.assert_close(mean_pool_kv(weight, n, g), expected)


@pytest.mark.parametrize("n, g", CASES)
def test_the_first_head_is_that_of_a_loop_over_groups(n, g):
    weight = draw(n * 3, 7)
    expected = torch.cat([weight[i * n // g * 3 :][:3] for i in range(g)])
    assert torch.equal(first_head_kv(weight, n, g), expected)


@pytest.mark.parametrize("pool", [mean_pool_kv, first_head_kv])
def test_with_as_many_heads_nothing_changes(pool):
    weight = draw(15, 7)
    assert torch.equal(pool(weight, 5, 5), weight)


@pytest.mark.parametrize("pool", [mean_pool_kv, first_head_kv])
def test_equal_heads_give_the_head_they_are(pool):
    head = draw(3, 7)
    torch.testing.assert_close(pool(head.repeat(6, 1), 6, 2), head.repeat(2, 1))


@pytest.mark.parametrize("n, between, g", [(12, 6, 2), (12, 4, 1), (8, 4, 2)])
def test_pooling_twice_is_pooling_once(n, between, g):
    weight = draw(n * 3, 5)
    twice = mean_pool_kv(mean_pool_kv(weight, n, between), between, g)
    torch.testing.assert_close(twice, mean_pool_kv(weight, n, g))


def test_pooling_the_weights_is_averaging_the_projected_keys():
    x, weight, bias = draw(2, 4, 7), draw(18, 7, seed=1), draw(18, seed=2)
    keys = split_heads(x @ weight.T + bias, 6)  # (b, n, t, h)
    expected = torch.stack([keys[:, 0:3].mean(1), keys[:, 3:6].mean(1)], dim=1)
    pooled = x @ mean_pool_kv(weight, 6, 2).T + mean_pool_kv(bias, 6, 2)
    torch.testing.assert_close(split_heads(pooled, 2), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("pool", POOLS)
def test_what_comes_back_has_the_precision_of_the_weight(pool, dtype):
    assert pool(draw(12, 5).to(dtype), 6, 2).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_of_half_precision_is_rounded_once_and_cannot_overflow(dtype):
    weight = draw(32 * 3, 50).to(dtype)
    exact = mean_pool_kv(weight.double(), 32, 2).float().to(dtype)
    rounded = mean_pool_kv(weight.float(), 32, 2).to(dtype)
    assert torch.equal(mean_pool_kv(weight, 32, 2), rounded)
    torch.testing.assert_close(rounded, exact)
    large = torch.full((4, 1), 60_000, dtype=dtype)
    assert torch.equal(mean_pool_kv(large, 4, 1), large[:1])


def test_random_weights_are_new_and_as_large_as_the_old_ones():
    weight = 0.3 * draw(80, 500, seed=1)
    torch.manual_seed(0)
    first, second = random_kv(weight, 8, 4), random_kv(weight, 8, 4)
    assert first.shape == (40, 500)
    assert first.std().item() == pytest.approx(0.3, rel=0.02)
    assert first.mean().item() == pytest.approx(0, abs=0.01)
    for other in (second, weight[:40], first_head_kv(weight, 8, 4)):
        assert abs(torch.cosine_similarity(first.flatten(), other.flatten(), dim=0)) < 0.03
    torch.manual_seed(0)
    assert torch.equal(random_kv(weight, 8, 4), first)


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_changes_no_input(pool):
    weight = draw(12, 5)
    pool(weight, 6, 2)
    assert torch.equal(weight, draw(12, 5))


@pytest.mark.parametrize("pool", POOLS)
def test_heads_that_do_not_fit_are_refused(pool):
    with pytest.raises(ValueError) as error:
        pool(draw(12, 5), 6, 4)
    assert str(error.value) == (
        "n_heads (6) must be divisible by n_kv_heads (4); try one of 1, 2, 3, 6"
    )
    for n in (5, 0, -1):
        with pytest.raises(ValueError) as error:
            pool(draw(12, 5), n, 1)
        assert str(error.value) == (
            f"the rows of weight (12) must be divisible by n_heads ({n}), the number of K/V heads "
            "it has now; try one of 1, 2, 3, 4, 6, 12"
        )


# A state dict


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("n, g", [(6, 6), (6, 3), (6, 2), (6, 1), (8, 2)])
def test_a_converted_layer_is_mha_whose_heads_are_the_means_of_their_groups(n, g, bias):
    torch.manual_seed(n + g)
    mha = GroupedQueryAttention(7, n, head_dim=5, bias=bias).double()
    gqa = GroupedQueryAttention(7, n, g, head_dim=5, bias=bias).double()
    gqa.load_state_dict(convert(mha.state_dict(), n, g))
    for project in (mha.k_proj, mha.v_proj):
        for x in project.parameters():
            x.copy_(group_means(x, n, g, repeats=n // g))
    x = 3 * draw(2, 4, 7)
    for got, expected in zip(gqa(x), mha(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_query_head_i_reads_the_head_it_was_pooled_into():
    """In an MHA whose K/V heads are equal within a group, pooling changes nothing."""
    mha = GroupedQueryAttention(7, 6, head_dim=5).double()
    for project in (mha.k_proj, mha.v_proj):
        project.weight.copy_(project.weight.unflatten(0, (6, 5))[[0, 0, 1, 1, 2, 2]].flatten(0, 1))
    gqa = GroupedQueryAttention(7, 6, 3, head_dim=5).double()
    gqa.load_state_dict(convert(mha.state_dict(), 6, 3))
    x = 3 * draw(2, 4, 7)
    torch.testing.assert_close(gqa(x), mha(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pool", POOLS)
def test_only_keys_and_values_are_pooled_and_the_rest_is_the_same_tensors(pool):
    weights = GroupedQueryAttention(7, 6, head_dim=5, bias=True).state_dict()
    weights["k_norm.weight"] = torch.ones(5)  # one for all heads, as in Qwen3
    before = {name: x.clone() for name, x in weights.items()}
    new = convert(weights, 6, 2, pool)
    assert list(new) == list(weights)
    assert all(torch.equal(weights[name], before[name]) for name in before)
    for name, x in new.items():
        if name.startswith(("k_proj", "v_proj")):
            assert x.shape == (2 * 5, *weights[name].shape[1:])
        else:
            assert x is weights[name]


def test_keys_and_values_are_pooled_in_the_same_way():
    weights = {f"layer.{x}_proj.weight": draw(12, 5, seed=i) for i, x in enumerate("kv")}
    new = convert(weights, 6, 2)
    assert all(torch.equal(new[name], mean_pool_kv(x, 6, 2)) for name, x in weights.items())


def test_fewer_heads_can_become_fewer_still():
    weights = GroupedQueryAttention(7, 12, 6, head_dim=5).state_dict()
    new = convert(weights, n_heads=6, n_kv_heads=2)
    GroupedQueryAttention(7, 12, 2, head_dim=5).load_state_dict(new)


def weights_of(*shapes, **others):
    """A state dict with one k_proj for each shape, and others by name."""
    weights = {f"layers.{i}.k_proj.weight": torch.zeros(shape) for i, shape in enumerate(shapes)}
    return weights | {name.replace("__", "."): torch.zeros(x) for name, x in others.items()}


@pytest.mark.parametrize(
    "weights, said",
    [
        (
            {f"h.{i}.c_attn.weight": torch.zeros(18, 5) for i in range(6)},
            "none of 6 tensors is called k_proj or v_proj; there is h.0.c_attn.weight, "
            "h.1.c_attn.weight, h.2.c_attn.weight, h.3.c_attn.weight …; where queries, keys and values are "
            "fused into one (qkv_proj, c_attn, query_key_value), split them first",
        ),
        (
            {"h.0.k_projection.weight": torch.zeros(18, 5)},
            "none of 1 tensors is called k_proj or v_proj; ",
        ),
        (
            weights_of((12, 5), h__k_proj__weight_scale=()),
            "h.k_proj.weight_scale is neither the weight nor the bias of a projection; merge adapters, and "
            "undo quantization, before you convert",
        ),
        (
            weights_of((12, 5), h__v_proj__lora_A__weight=(4, 5)),
            "h.v_proj.lora_A.weight is neither the weight nor the bias of a projection; ",
        ),
        (
            weights_of((12, 5), (24, 5)),
            "the k_proj and v_proj of this model have 12 and 24 rows; all must have the same number of heads, "
            "as wide as each other",
        ),
        (
            weights_of((12, 5), layers__0__k_norm__weight=(12,)),
            "layers.0.k_norm.weight has 12 numbers, more than one head's 2; the mean of a group is known for "
            "k_proj and v_proj only",
        ),
        (
            weights_of((12, 5), k_norm__weight=(2, 6)),
            "k_norm.weight has 12 numbers, more than one head's 2; ",
        ),
        (
            weights_of(
                (12, 5), **{f"layers__0__k_norm__norms__{i}__weight": (2,) for i in range(6)}
            ),
            "layers.0.k_norm.norms.0.weight (2,) seems to hold a part for each of 6 K/V heads; the mean of a "
            "group is known for k_proj and v_proj only",
        ),
        (
            weights_of((12, 5), layers__0__A=(6,)),
            "layers.0.A (6,) seems to hold a part for each of 6 K/V heads; ",
        ),
        (
            weights_of((12, 5), layers__0__k_scale=(6, 1)),
            "layers.0.k_scale has 6 numbers, more than one head's 2; ",
        ),
        (
            weights_of((48, 5), layers__0__k_scale=(6, 1)),
            "layers.0.k_scale (6, 1) seems to hold a part for each of 6 K/V heads; ",
        ),
        (
            weights_of((12, 5), layers__0__v_norm__weight=(12,)),
            "layers.0.v_norm.weight (12,) seems to hold a part for each of 6 K/V heads; ",
        ),
        (
            weights_of((12, 5), layers__0__key_norm__weight=(12,)),
            "layers.0.key_norm.weight (12,) seems to hold a part for each of 6 K/V heads; ",
        ),
        *(
            (
                weights_of((12, 5), **{f"layers__0__{name.replace('.', '__')}__weight": (12,)}),
                f"layers.0.{name}.weight has 12 numbers, more than one head's 2; ",
            )
            for name in "norm_k attn_k_norm layernorm_k qk_norm.k k.norm".split()
        ),
        *(
            (
                weights_of((12, 5), **{f"layers__0__{name}__weight": (12,)}),
                f"layers.0.{name}.weight (12,) seems to hold a part for each of 6 K/V heads; ",
            )
            for name in "attention_norm_key norm_v value_norm attn_kv_norm".split()
        ),
        *(
            (
                {"k_proj.weight": torch.zeros(12, 5).to(dtype)},
                f"k_proj.weight is {dtype}; undo quantization before you convert",
            )
            for dtype in (torch.int8, torch.bool, torch.float8_e4m3fn)
        ),
        (
            weights_of((13, 5)),
            "the rows of weight (13) must be divisible by n_heads (6), the number of K/V heads it has now; try "
            "one of 1, 13",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(weights, said):
    with pytest.raises(ValueError) as error:
        convert(weights, 6, 2)
    assert str(error.value).startswith(said)
    assert said.endswith("; ") or str(error.value) == said


# A checkpoint in the Hub's format

SIZES = {
    "vocab_size": 37,
    "hidden_size": 18,
    "intermediate_size": 11,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 16,
}
WIDTHS = {"llama": 10, "qwen2": None, "qwen3": 8}  # h, here not d // n; RoPE needs an even number
CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}


def tiny(kind="llama", n_kv_heads=6, dtype=torch.float32, **others):
    """A model with random weights, its biases too."""
    h = WIDTHS[kind]
    sizes = SIZES | ({"head_dim": h} if h else {"hidden_size": 24})
    torch.manual_seed(0)
    config = CONFIGS[kind](**sizes | {"num_key_value_heads": n_kv_heads} | others)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for x in model.parameters():
            x.copy_(torch.randn_like(x) / 3)
    return model.to(dtype).eval()


@pytest.fixture
def saved(tmp_path):
    """saved(kind, …) makes a model and the folder it was saved in."""

    def save(kind="llama", n_kv_heads=6, max_shard_size="1GB", **others):
        model = tiny(kind, n_kv_heads, **others)
        model.save_pretrained(tmp_path / "old", max_shard_size=max_shard_size)
        return model, tmp_path / "old"

    return save


def reload(folder):
    """The model in a folder, every tensor of it found and of the right shape."""
    model, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


@torch.no_grad()
def averaged(model, n, g):
    """The model with every K/V head replaced by the mean of its group."""
    for layer in model.model.layers:
        for project in (layer.self_attn.k_proj, layer.self_attn.v_proj):
            for x in project.parameters():
                x.copy_(group_means(x.double(), n, g, repeats=n // g))
    return model


@torch.no_grad()
@pytest.mark.parametrize("max_shard_size", ["1GB", "5KB"])
@pytest.mark.parametrize(
    "kind, n, g",
    [
        ("llama", 6, 6),
        ("llama", 6, 3),
        ("llama", 6, 2),
        ("llama", 6, 1),
        ("llama", 3, 1),  # from GQA
        ("qwen2", 6, 2),  # with biases
        ("qwen3", 6, 3),  # with a norm of each head's keys
    ],
)
def test_a_converted_checkpoint_is_the_model_with_its_heads_averaged(
    saved, tmp_path, kind, n, g, max_shard_size
):
    model, old = saved(kind, n, max_shard_size)
    assert (len(list(old.glob("model-*.safetensors"))) > 2) == (max_shard_size == "5KB")
    convert_checkpoint(old, tmp_path / "new", g)
    new, h = reload(tmp_path / "new"), model.model.layers[0].self_attn.head_dim
    assert new.config.num_key_value_heads == g
    assert new.config.num_attention_heads == 6
    for layer in new.model.layers:
        assert layer.self_attn.k_proj.weight.shape == (g * h, model.config.hidden_size)
        assert layer.self_attn.q_proj.weight.shape == (6 * h, model.config.hidden_size)
    tokens = torch.randint(37, (1, 9), generator=torch.Generator().manual_seed(0))
    got, before = new(tokens), model(tokens).logits
    for layer in got.past_key_values.layers:
        assert layer.keys.shape == layer.values.shape == (1, g, 9, h)
    expected = averaged(model, n, g)(tokens).logits
    torch.testing.assert_close(got.logits, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(got.logits, before) == (g == n)

    new.save_pretrained(tmp_path / "again")
    again = reload(tmp_path / "again")
    assert again.config.num_key_value_heads == g
    assert torch.equal(again(tokens).logits, got.logits)


def tensors(folder):
    """All tensors of a folder by name."""
    return {key: x for path in folder.glob("*.safetensors") for key, x in load_file(path).items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_files_hold_what_convert_gives_in_the_precision_they_had(saved, tmp_path, dtype):
    _, old = saved(max_shard_size="2KB", dtype=dtype)
    for pool in (mean_pool_kv, first_head_kv):
        new = tmp_path / pool.__name__
        convert_checkpoint(old, new, 2, pool)
        got, expected = tensors(new), convert(tensors(old), 6, 2, pool)
        assert got.keys() == expected.keys()
        assert all(torch.equal(x, expected[name]) for name, x in got.items())
        assert {x.dtype for x in got.values()} == {dtype}


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("pool", POOLS)
def test_index_and_metadata_say_what_is_in_the_new_files(saved, tmp_path, pool):
    _, old = saved(max_shard_size="5KB")
    convert_checkpoint(old, tmp_path / "new", 2, pool)
    before, index = (read(tmp_path / x / "model.safetensors.index.json") for x in ("old", "new"))
    size = sum(x.nbytes for x in tensors(tmp_path / "new").values())
    assert index["metadata"] == {"total_size": size}  # nothing of the old model is left
    assert size < before["metadata"]["total_size"]
    assert index["weight_map"] == before["weight_map"]
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / "new" / file, "pt") as opened:
            assert name in opened.keys()  # noqa: SIM118
            assert opened.metadata() == {"format": "pt"}


def test_only_the_number_of_heads_changes_in_the_config(saved, tmp_path):
    _, old = saved()
    convert_checkpoint(str(old), str(tmp_path / "new"), 2)
    before, after = read(old / "config.json"), read(tmp_path / "new" / "config.json")
    assert after == before | {"num_key_value_heads": 2}
    assert list(after) == list(before)
    assert not (tmp_path / "new" / "model.safetensors.index.json").exists()


@pytest.mark.parametrize("given", [{}, {"num_key_value_heads": None}])
def test_a_config_that_does_not_count_key_value_heads_is_that_of_mha(saved, tmp_path, given):
    _, old = saved()
    config = read(old / "config.json")
    del config["num_key_value_heads"]
    (old / "config.json").write_text(json.dumps(config | given))
    convert_checkpoint(old, tmp_path / "new", 3)
    assert reload(tmp_path / "new").config.num_key_value_heads == 3


def test_metadata_is_kept_or_made(saved, tmp_path):
    _, old = saved()
    weights = load_file(old / "model.safetensors")
    for i, given in enumerate([None, {"format": "pt", "by": "someone"}]):
        save_file(weights, old / "model.safetensors", given)
        convert_checkpoint(old, tmp_path / f"new{i}", 2)
        with safe_open(tmp_path / f"new{i}" / "model.safetensors", "pt") as file:
            assert file.metadata() == (given or {"format": "pt"})


def test_other_files_come_along_and_other_weights_do_not(saved, tmp_path):
    _, old = saved(max_shard_size="5KB")
    small = ["tokenizer.json", "tokenizer.model", "LICENSE", "chat_template.jinja", "README.md"]
    large = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "q4.gguf"]
    for name in [*small, *large, "consolidated.safetensors"]:
        (old / name).write_bytes(name.encode())
    (old / "original").mkdir()
    (old / "tokenizer.json").rename(tmp_path / "blob")
    (old / "tokenizer.json").symlink_to(tmp_path / "blob")  # as in the Hub's cache
    convert_checkpoint(old, tmp_path / "new", 2)
    weights = {path.name for path in old.glob("model*")}
    assert len(weights) > 3
    assert {path.name for path in (tmp_path / "new").iterdir()} == weights | {
        "config.json",
        "generation_config.json",
        *small,
    }
    for name in small:
        assert (tmp_path / "new" / name).read_bytes() == name.encode()
    assert not (tmp_path / "new" / "tokenizer.json").is_symlink()


def test_a_model_saved_over_a_larger_one_is_the_one_that_is_converted(saved, tmp_path):
    saved(max_shard_size="5KB")
    model, old = saved(num_hidden_layers=1)  # leaves the index of the first
    assert (old / "model.safetensors.index.json").exists()
    convert_checkpoint(old, tmp_path / "new", 2)
    assert not (tmp_path / "new" / "model.safetensors.index.json").exists()
    tokens = torch.arange(9)[None]
    new = reload(tmp_path / "new")(tokens).logits
    torch.testing.assert_close(new, averaged(model, 6, 2)(tokens).logits, rtol=1e-4, atol=1e-5)


def test_the_source_is_not_changed(saved, tmp_path):
    _, old = saved(max_shard_size="5KB")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    convert_checkpoint(old, tmp_path / "new", 2)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before


def test_one_file_of_weights_is_in_memory_at_a_time(saved, tmp_path, monkeypatch):
    _, old = saved(max_shard_size="5KB")
    written = []

    def reading(self, wanted, read=Checkpoint.tensors):
        assert not any(x() is not None for x in written)  # what was written is forgotten
        return read(self, wanted)

    def saving(weights, path, metadata):
        written.extend(map(weakref.ref, weights.values()))
        save_file(weights, path, metadata)

    monkeypatch.setattr(Checkpoint, "tensors", reading)
    monkeypatch.setattr(conversion, "save_file", saving)
    convert_checkpoint(old, tmp_path / "new", 2)
    assert len(written) == len(tensors(old)) > len(list(old.glob("*.safetensors"))) > 3


def test_the_target_may_be_an_empty_folder_or_deep(saved, tmp_path):
    _, old = saved()
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "a" / "b"):
        convert_checkpoint(old, target, 2)
        reload(target)


# All families of transformers with a k_proj, as far as they are known to differ here

REFUSED = {  # model_type → how the refusal begins
    "biogpt": "config.json of biogpt has no num_key_value_heads, so its code would not know of fewer ",
    "gptj": "config.json of gptj has no num_key_value_heads, ",
    "modernbert-decoder": "config.json of modernbert-decoder has no num_key_value_heads, ",
    "opt": "config.json of opt has no num_key_value_heads, ",
    "doge": "model.layers.0.self_attn.A (6,) seems to hold a part for each of 6 K/V heads; ",
    "cohere, qk": "model.layers.0.self_attn.k_norm.weight has 48 numbers, more than one head's 8; ",
    "olmo2": "model.layers.0.self_attn.k_norm.weight has 48 numbers, more than one head's 8; ",
    "stablelm, qk": "model.layers.0.self_attn.k_layernorm.norms.0.weight (8,) seems to hold a part ",
}
CONVERTED = (
    "afmoe arcee bitnet cohere cohere2 diffllama exaone4 gemma2 glm4 gpt_oss granite helium "
    "hunyuan_v1_dense laguna lfm2 mistral phi qwen3_moe seed_oss smollm3 stablelm starcoder2"
)
KINDS = [*CONVERTED.split(), "phi, qk", *REFUSED]
TOY = SIZES | {
    "hidden_size": 48, "head_dim": 8, "num_key_value_heads": 6, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "n_embd": 48, "n_layer": 2, "n_head": 6, "rotary_dim": 4, "ffn_dim": 11,
    "num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
    "intermediate_size": 16,
    "initializer_range": 0.3, "word_embed_proj_dim": 48,
}  # fmt: skip


def family(kind, with_norms=False):
    """A model of another family with random weights, perhaps with norms of queries and keys."""
    config_class = type(AutoConfig.for_model(kind))
    known = {*config_class.__dataclass_fields__, *config_class.attribute_map}
    given = TOY | {"qk_layernorm": with_norms, "use_qk_norm": with_norms}
    torch.manual_seed(0)
    config = config_class(**{name: x for name, x in given.items() if name in known})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for x in model.parameters():
            x.add_(torch.randn_like(x) / 5)
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_family_is_converted_as_transformers_computes_it_or_refused(kind, tmp_path):
    model, old = family(kind.removesuffix(", qk"), kind.endswith(", qk")), tmp_path / "old"
    model.save_pretrained(old)
    if kind in REFUSED:
        assert refused(ValueError, old, tmp_path / "new").startswith(REFUSED[kind])
        return
    convert_checkpoint(old, tmp_path / "new", 2)
    for name, x in model.named_parameters():
        if not {"k_proj", "v_proj"}.isdisjoint(name.split(".")):
            x.copy_(group_means(x.double(), 6, 2, repeats=3))
    tokens = torch.arange(3, 12)[None]
    got, expected = reload(tmp_path / "new")(tokens).logits, model(tokens).logits
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


# What convert_checkpoint refuses


def refused(error, old, new, g=2):
    """What it says when it refuses; nothing must have been written."""
    before = sorted(new.parent.rglob("*"))
    with pytest.raises(error) as raised:
        convert_checkpoint(old, new, g)
    assert sorted(new.parent.rglob("*")) == before
    return str(raised.value)


def test_a_folder_without_config_is_refused(tmp_path):
    assert refused(FileNotFoundError, tmp_path, tmp_path / "new") == (
        f"no config.json in {tmp_path.name}; there is no file"
    )
    assert refused(FileNotFoundError, tmp_path / "nowhere", tmp_path / "new") == (
        f"no folder {tmp_path / 'nowhere'}; a model of the Hub is downloaded by "
        "huggingface_hub.snapshot_download(name), which gives back its folder"
    )


@pytest.mark.parametrize("g, n", [(4, 6), (0, 6), (-2, 6), (12, 6), (2, 3)])
def test_heads_that_cannot_be_pooled_evenly_are_refused(saved, tmp_path, g, n):
    _, old = saved(n_kv_heads=n)
    divisors = "1, 2, 3, 6" if n == 6 else "1, 3"
    assert refused(ValueError, old, tmp_path / "new", g) == (
        f"{n} K/V heads cannot be pooled evenly to {g}; try one of {divisors}"
    )


@pytest.mark.parametrize("g", [2.0, "2", None])
def test_a_number_of_heads_that_is_not_whole_is_refused(saved, tmp_path, g):
    _, old = saved()
    said = refused(TypeError, old, tmp_path / "new", g)
    assert said == f"n_kv_heads is {g!r}; give a whole number, as in 2"
    convert_checkpoint(old, tmp_path / "new", np.int64(2))
    assert read(tmp_path / "new" / "config.json")["num_key_value_heads"] == 2


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn])
def test_a_quantized_file_is_refused_before_anything_is_written(saved, tmp_path, dtype):
    _, old = saved()
    weights = load_file(old / "model.safetensors")
    name = "model.layers.1.self_attn.k_proj.weight"
    save_file(weights | {name: weights[name].to(dtype)}, old / "model.safetensors")
    said = refused(ValueError, old, tmp_path / "new")
    assert said == f"{name} is {dtype}; undo quantization before you convert"


def test_a_target_that_holds_something_is_refused(saved, tmp_path):
    _, old = saved()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for new in (tmp_path / "full", tmp_path / "file", old):
        assert refused(FileExistsError, old, new) == (
            f"{new} is not empty; delete it, or choose another name"
        )


def test_fused_projections_are_refused(saved, tmp_path):
    _, old = saved()
    weights = {"h.0.attn.c_attn.weight": torch.zeros(14, 42), "wte.weight": torch.zeros(37, 14)}
    save_file(weights, old / "model.safetensors", {"format": "pt"})
    assert refused(ValueError, old, tmp_path / "new") == (
        "none of 2 tensors is called k_proj or v_proj; there is h.0.attn.c_attn.weight, wte.weight "
        "…; where queries, keys and values are fused into one (qkv_proj, c_attn, query_key_value), "
        "split them first"
    )


def test_layers_with_other_heads_are_refused_whichever_file_they_are_in(saved, tmp_path):
    _, old = saved(max_shard_size="2KB")
    name = "model.layers.1.self_attn.v_proj.weight"
    path = old / read(old / "model.safetensors.index.json")["weight_map"][name]
    weights = load_file(path)
    save_file(weights | {name: weights[name][:30].clone()}, path, {"format": "pt"})
    said = refused(ValueError, old, tmp_path / "new")
    assert said.startswith("the k_proj and v_proj of this model have 30 and 60 rows; ")


@pytest.mark.parametrize(
    "change, said",
    [
        (
            {"text_config": {"num_attention_heads": 6}},
            "config.json counts heads in its text_config, so this is a model of several parts; save "
            "the language model in a folder of its own and convert that",
        ),
        (
            {"num_key_value_heads": [2, 6]},
            "config.json has layers of different g: 2, 6; see from_config(config).g",
        ),
        (
            {"num_key_value_heads": None, "num_attention_heads": None},
            "config.json has no num_attention_heads (nor n_head, n_heads, num_heads, attention_heads, "
            "num_query_heads); it does not tell what this model caches",
        ),
        (
            {"kv_lora_rank": 12, "qk_rope_head_dim": 4},
            "no K/V heads are cached, but one latent a token and layer, of which all heads are made",
        ),
    ],
)
def test_a_config_that_does_not_say_how_many_heads_is_refused(saved, tmp_path, change, said):
    _, old = saved()
    (old / "config.json").write_text(json.dumps(read(old / "config.json") | change))
    assert refused(ValueError, old, tmp_path / "new") == said


def test_weights_in_another_format_or_missing_are_refused(saved, tmp_path):
    _, old = saved(max_shard_size="5KB")
    first, *_ = sorted(path.name for path in old.glob("*.safetensors"))
    shutil.move(old / first, tmp_path / first)
    said = refused(FileNotFoundError, old, tmp_path / "new")
    assert said.startswith(f"no {first} in old; there is config.json, ")
    for path in old.glob("*.safetensors*"):
        path.unlink()
    (old / "pytorch_model.bin").touch()
    said = refused(FileNotFoundError, old, tmp_path / "new")
    assert said.startswith("no model.safetensors in old; there is config.json, ")
    assert said.endswith("let safetensors/convert on the Hub convert it")


def test_an_index_cannot_name_a_file_elsewhere(saved, tmp_path):
    _, old = saved()
    shutil.move(old / "model.safetensors", tmp_path / "secret.safetensors")
    index = {"weight_map": {"model.norm.weight": "../secret.safetensors"}}
    (old / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refused(ValueError, old, tmp_path / "new") == (
        "model.safetensors.index.json is broken: its weight_map must name a .safetensors "
        "file beside it for each tensor"
    )


@pytest.mark.parametrize("name", ["self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"])
def test_an_index_that_is_not_that_of_its_files_is_refused(saved, tmp_path, name):
    _, old = saved(max_shard_size="9KB")
    name, path = f"model.layers.0.{name}.weight", old / "model.safetensors.index.json"
    index = read(path)
    file = index["weight_map"].pop(name)
    path.write_text(json.dumps(index))
    assert refused(ValueError, old, tmp_path / "new") == (
        f"model.safetensors.index.json is broken: it does not say that {name} is in {file}; load "
        "the model with transformers and save it again"
    )
    other = next(x for x in index["weight_map"].values() if x != file)
    path.write_text(json.dumps({"weight_map": index["weight_map"] | {name: other}}))
    missing = (
        f"model.safetensors.index.json is broken: it says {name} is in {other}, which has none"
    )
    with pytest.raises(ValueError, match=missing):
        open_checkpoint(old).tensor(name)
    assert "model.safetensors.index.json is broken: it " in refused(
        ValueError, old, tmp_path / "new"
    )


def test_what_was_broken_off_cannot_be_loaded(saved, tmp_path):
    _, old = saved(max_shard_size="5KB")
    calls = []

    def fails(weight, n_heads, n_kv_heads):
        calls.append(weight)
        if len(calls) == 3:
            raise OSError("no space left on device")
        return mean_pool_kv(weight, n_heads, n_kv_heads)

    with pytest.raises(OSError, match="no space left"):
        convert_checkpoint(old, tmp_path / "new", 2, fails)
    assert list((tmp_path / "new").glob("*.safetensors"))
    assert not (tmp_path / "new" / "config.json").exists()
    with pytest.raises((OSError, ValueError)):
        AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert refused(FileExistsError, old, tmp_path / "new").endswith("choose another name")
