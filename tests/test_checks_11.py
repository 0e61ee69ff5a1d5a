"""Exercises of lesson 11: right in any style, and mistakes known in a learner's own words."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from lessons import PATHS, code, read

from course_utils import ladder
from course_utils.checks import lesson_11
from course_utils.checks.engine import examine, find, redrawn
from course_utils.geometry import from_config, model, models

BYTES, LAYERS, BITS = (find(f"11.{name}") for name in ("cache_bytes", "layers_of", "quantize"))


# Bytes of layers


def by_match(layers, n_tokens):
    total = 0
    for kind, count, numbers, window in layers:
        match kind:
            case "full":
                kept = n_tokens
            case "window":
                kept = window if window < n_tokens else n_tokens
            case "state":
                kept = 1
            case "shared":
                continue
        total += count * numbers * kept * 2
    return total


def by_functions(layers, n_tokens):
    keeps = {
        "full": lambda window: n_tokens,
        "window": lambda window: min(window, n_tokens),
        "state": lambda window: 1,
        "shared": lambda window: 0,
    }
    return sum(2 * n * numbers * keeps[kind](window) for kind, n, numbers, window in layers)


def token_by_token(layers, n_tokens):
    total = 0
    for kind, n, numbers, window in layers:
        for i in range(n_tokens):
            if kind == "full" or (kind == "window" and i >= n_tokens - window):
                total += 2 * n * numbers
        total += 2 * n * numbers * (kind == "state")
    return total


WRONG_BYTES = {
    "the window on every layer": lambda layers, s: sum(
        2 * n * x * (1 if kind == "state" else 0 if kind == "shared" else min(s, w or s))
        for kind, n, x, _ in layers
        for w in [next((row[3] for row in layers if row[3]), None)]
    ),
    "max for min": lambda layers, s: sum(
        2 * n * x * {"full": s, "window": max(s, w or 0), "state": 1, "shared": 0}[kind]
        for kind, n, x, w in layers
    ),
    "the state times the tokens": lambda layers, s: (
        2 * sum(n * x * min(s, w or s) for kind, n, x, w in layers if kind != "shared")
    ),
    "shared layers counted again": lambda layers, s: (
        2 * sum(n * x * (1 if kind == "state" else min(s, w or s)) for kind, n, x, w in layers)
    ),
    "all kinds but window taken for full": lambda layers, s: sum(
        n * x * (min(s, w) if kind == "window" else s) * 2 for kind, n, x, w in layers
    ),
    "K and V counted once more": lambda layers, s: 2 * ladder.cache_bytes(layers, s),
    "a window asked of every layer": lambda layers, s: sum(
        n * x * min(s, w) for _, n, x, w in layers
    ),
}


# What a config says


def counted(config):
    if "kv_lora_rank" in config:
        numbers = sum(
            config.get(f"{x}", 0) for x in ("kv_lora_rank", "qk_rope_head_dim", "index_head_dim")
        )
        return [("full", config["num_hidden_layers"], numbers, None)]
    g, h = config["num_key_value_heads"], config["head_dim"]
    if "attn_type_list" in config:
        full = sum(config["attn_type_list"])
        state = config["num_attention_heads"] * h * h
        return [
            ("full", full, 2 * g * h, None),
            ("state", config["num_hidden_layers"] - full, state, None),
        ]
    types = config["layer_types"]
    own = Counter(types[: len(types) - (config.get("num_kv_shared_layers") or 0)])
    wide, many = config.get("global_head_dim") or h, config.get("num_global_key_value_heads") or g
    return [("window", own["sliding_attention"], 2 * g * h, config.get("sliding_window")),
            ("full", own["full_attention"], 2 * many * wide, None)]  # fmt: skip


def with_shared(config):
    """The shared layers are listed, as shared."""
    rows, n = ladder.layers_of(config), config.get("num_kv_shared_layers") or 0
    return [*rows, *[("shared", 1, rows[0][2], rows[0][3])] * n]


def as_lists(config):
    return tuple([*row] for row in ladder.layers_of(config))


WRONG_LAYERS = {
    "every layer full": lambda c: [
        (kind if kind == "state" else "full", n, x, None) for kind, n, x, _ in ladder.layers_of(c)
    ],
    "no layers left where none is shared": lambda c: counted(
        c | {"layer_types": c["layer_types"][: -c["num_kv_shared_layers"]], "num_kv_shared_layers": 0}
        if "num_kv_shared_layers" in c else c
    ),
    "shared layers counted again": lambda c: counted(c | {"num_kv_shared_layers": 0}),
    "the RoPE key left out": lambda c: counted(
        c | {"qk_rope_head_dim": 0} if "kv_lora_rank" in c else c
    ),
    "only the tokens kept that are read": lambda c: [
        ("window", n, x, c["index_topk"]) if "index_topk" in c else (kind, n, x, w)
        for kind, n, x, w in counted(c)
    ],
    "the state times the tokens": lambda c: [
        ("full" if kind == "state" else kind, n, x, w) for kind, n, x, w in counted(c)
    ],
    "V left out where K = V": lambda c: [
        (kind, n, x // (1 + (kind == "full" and bool(c.get("attention_k_eq_v")))), w)
        for kind, n, x, w in counted(c)
    ],
    "head_dim asked of a latent model": lambda c: [
        ("full", len(c.get("layer_types", [])), 2 * c["num_key_value_heads"] * c["head_dim"], None)
    ],
}  # fmt: skip


# Fewer bits


def clamped(x, bits):
    top = 2 ** (bits - 1) - 1
    scale = x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-9) / top
    return torch.clamp(torch.round(x / scale), -top, top).char(), scale


def by_rows(x, bits):
    rows, scales = [], []
    for row in x.reshape(-1, x.shape[-1]):
        largest = max(abs(number) for number in row.tolist())
        scale = largest / (2 ** (bits - 1) - 1) if largest else 1.0
        scales.append([scale])
        rows.append([round(number / scale) for number in row.tolist()])
    shape = x.shape[:-1]
    return (torch.tensor(rows, dtype=torch.int8).view(*shape, -1),
            torch.tensor(scales, dtype=x.dtype).view(*shape, 1))  # fmt: skip


def by_numpy(x, bits):
    top, y = (1 << bits - 1) - 1, x.float().numpy()
    largest = np.abs(y).max(-1, keepdims=True)
    scale = np.where(largest > 0, largest / top, 1)
    return torch.from_numpy(np.rint(y / scale).astype(np.int8)), torch.from_numpy(scale).to(x.dtype)


def multiplied(x, bits):
    """By the inverse of the scale, in whole steps of it."""
    largest = x.abs().amax(-1, True)
    largest[largest == 0] = 2 ** (bits - 1) - 1
    return (x * (2 ** (bits - 1) - 1) / largest).round().to(torch.int8), largest / (
        2 ** (bits - 1) - 1
    )


WRONG_BITS = {
    "the scale over the wrong axis": lambda x, bits: (
        (x / (s := x.abs().amax(-2, keepdim=True) / (2 ** (bits - 1) - 1)).where(s != 0, 1)).round().char(),
        s.where(s != 0, 1),
    ),
    "truncation, not rounding": lambda x, bits: (
        (x / (s := ladder.quantize(x, bits)[1])).to(torch.int8), s
    ),
    "a division by zero in a row of zeros": lambda x, bits: (
        (x / (s := x.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1))).round().char(), s
    ),
    "only the integers": lambda x, bits: clamped(x, bits)[0],
    "the scale upside down": lambda x, bits: (
        (x * (s := (2 ** (bits - 1) - 1) / x.abs().amax(-1, True).clamp(min=1e-9))).round().char(), s
    ),
    "whole numbers left as floats": lambda x, bits: (
        (x / (s := ladder.quantize(x, bits)[1])).round(), s
    ),
    "127 for any number of bits": lambda x, bits: clamped(x, 8),
}  # fmt: skip


STYLES = {
    "11.cache_bytes": [by_match, by_functions, token_by_token],
    "11.layers_of": [counted, with_shared, as_lists],
    "11.quantize": [clamped, by_rows, by_numpy, multiplied],
}
WRONG = {"11.cache_bytes": WRONG_BYTES, "11.layers_of": WRONG_LAYERS, "11.quantize": WRONG_BITS}


def small(name):
    """The exercise, without lengths that a loop over all tokens does not end with."""
    exercise = find(name)
    if name != "11.cache_bytes":
        return exercise
    return exercise._replace(probes=[x for x in exercise.probes if x[1] < 1000])


@pytest.mark.parametrize(
    "name, style", [(name, x) for name, styles in STYLES.items() for x in styles]
)
def test_it_is_right_in_any_style(name, style):
    result = examine(small(name), style)
    assert result.passed, result.message


@pytest.mark.parametrize("name, diagnosis", [(name, x) for name, of in WRONG.items() for x in of])
def test_a_mistake_is_known_in_other_words(name, diagnosis):
    assert examine(find(name), WRONG[name][diagnosis]).diagnosis == diagnosis


def test_any_scale_will_do_for_a_row_of_zeros_but_0_and_what_is_no_number():
    def giving(scale):
        def fn(x, bits):
            integers, scales = ladder.quantize(x, bits)
            return integers, torch.where((x == 0).all(-1, keepdim=True), scale, scales)

        return examine(BITS, fn)

    assert giving(0.25).passed and giving(1e-9).passed
    for scale in (0.0, float("nan"), float("inf")):
        assert not giving(scale).passed


def test_who_passed_is_told_how_far_from_x_it_comes_back():
    for style in (ladder.quantize, clamped, by_rows):
        said = "Dequantized, integers · scales, none is more than 0.4 of a step from x."
        assert examine(BITS, style).message.endswith(said)


def test_no_number_of_a_probe_lies_near_the_middle_of_two_levels():
    """So that rounding x / scale and x · 7 / largest give the same."""
    for seed in range(50):
        for x, bits in redrawn("11.quantize", str(seed)).probes:
            _, scales = ladder.quantize(x.double(), bits)
            steps = x.double() / scales
            assert ((steps - steps.floor() - 0.5).abs() > 0.02).all(), (seed, bits)


def test_kinds_that_are_no_kinds_are_named():
    result = examine(LAYERS, lambda config: [("sliding", 1, 2, 3)])
    assert "'sliding' is none of the kinds full, window, state, shared" in result.message


# The files


def test_the_files_are_those_of_the_table_and_those_the_lesson_shows():
    (path,) = [path for path in PATHS if path.stem[:2] == "11"]
    shown = {}
    for cell in code(read(path)):
        if cell.source.startswith(("window, full =", "configs |=")):
            exec(cell.source, shown)
    for name, config in lesson_11.FILES.items():
        assert shown["configs"][name] == config
        for s in (1, 100, 131_072):
            right = model(name).kv_bytes(s)
            assert from_config(config).kv_bytes(s) == right
            assert ladder.cache_bytes(ladder.layers_of(config), s) == right
    assert shown["configs"].keys() == lesson_11.FILES.keys()


def test_the_other_files_are_read_by_the_library_alike():
    for config in lesson_11.OTHERS:
        for s in (1, 100, 131_072):
            right = from_config(config).kv_bytes(s)
            assert ladder.cache_bytes(ladder.layers_of(config), s) == right


def test_cache_bytes_counts_every_model_of_the_table_whose_layers_it_can_say():
    n = 0
    for m in models():
        if any(x.every > 1 or x.cross for x in m.caches):
            continue
        rows = []
        for x in m.caches:
            rows += [("state", x.n_layers, x.state, None)] * bool(x.state)
            kind = "window" if x.window else "full"
            rows += [(kind, x.n_layers, x.per_token, x.window)] * bool(x.per_token)
        for s in (0, 1, 127, 4097, random.Random(n).randint(1, 10**6)):
            assert ladder.cache_bytes(rows, s) == m.kv_bytes(s), m.name
        n += 1
    assert n > 130
