"""Laws of course_utils.configs: any config.json is counted right, or refused by what it says."""

import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING

from course_utils import data_path
from course_utils.configs.kinds import FULL, MEANS, WINDOW, pattern
from course_utils.configs.known import NOT_KEPT, READ
from course_utils.configs.names import INSIDE, families, family
from course_utils.geometry import Geometry, from_config, kv_heads
from makers.families import families as written
from makers.families import letters

CASES = json.loads((Path(__file__).parent / "cases.json").read_text(encoding="utf-8"))
COUNTED = [case for case in CASES if case["right"] != "refuse"]
SMALL = {
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 64,
}


def by_name(case):
    return case["name"]


# What transformers' classes take for granted


def test_the_stored_families_are_those_of_the_installed_transformers():
    assert json.loads(data_path("families.json").read_text(encoding="utf-8")) == written()


PATTERNS = {kind: row["pattern"] for kind, row in families().items() if row and "pattern" in row}


@pytest.mark.parametrize("kind", PATTERNS)
def test_the_stored_pattern_makes_the_layers_that_the_class_makes(kind):
    for l in (*range(4, 30), 48, 61, 80):
        if PATTERNS[kind] == "max_window_layers":
            assert letters(CONFIG_MAPPING[kind], l) == (FULL * 28 + WINDOW * l)[:l]
        else:
            assert letters(CONFIG_MAPPING[kind], l) == pattern(PATTERNS[kind], l)


# Files as people have them


@pytest.mark.parametrize("case", COUNTED, ids=by_name)
def test_a_file_is_counted_right(case):
    m, right = from_config(case["config"]), case["right"]
    assert right, "a case says what is right"
    found = {
        "bytes": m.token_bytes(),
        "n_kv_heads": m.n_kv_heads,
        "n_layers": m.n_layers,
        "max_context": m.max_context,
        "kind": m.kind,
        "windows": bool(m.windows),
        "no_windows": not m.windows,
        "state": m.kv_bytes(0) // 2,
        "at": {s: m.kv_bytes(int(s)) - m.kv_bytes(0) for s in right.get("at", ())},  # no state
    }
    assert {name: found[name] for name in right} == right, case["why"]


@pytest.mark.parametrize("case", [x for x in COUNTED if "n_kv_heads" in x["right"]], ids=by_name)
def test_kv_heads_answers_the_same(case):
    assert kv_heads(case["config"]) == case["right"]["n_kv_heads"]


@pytest.mark.parametrize("case", [x for x in CASES if x not in COUNTED], ids=by_name)
def test_a_file_that_is_not_known_is_refused_by_what_it_says(case):
    with pytest.raises(ValueError, match=case.get("names", "num_hidden_layers")):
        from_config(case["config"])


@pytest.mark.parametrize("case", COUNTED, ids=by_name)
def test_the_names_of_fields_alone_decide_and_not_their_order(case):
    turned = dict(reversed(case["config"].items()))
    assert from_config(turned) == from_config(case["config"])


def test_the_cases_show_every_kind_of_mistake():
    assert {case["kind"] for case in CASES} == {*range(1, 11)}
    assert len({case["name"] for case in CASES}) == len(CASES)


# Fields that nobody knows

UNKNOWN = [
    "newlm_layer_types",
    "hybrid_block_pattern",
    "attention_window_list",
    "attn_every_n_layers",
    "layer_kv_heads",
    "kv_sharing_map",
    "kv_share_every",
    "global_attn_idx",
    "latent_size",
    "recurrent_state_size",
    "compress_factor",
    "per_layer_heads",
]
FAMILIES = "deepseek_v3", "gemma3_text", "llama", "mistral", "newlm", "phi", "qwen3_next"


@pytest.mark.parametrize("field", UNKNOWN)
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_field_that_may_change_the_cache_is_refused_by_name(kind, field):
    config = SMALL | {"model_type": kind}
    assert from_config(config).caches
    for value in ([1, 0, 1, 0], 3, ["full", "local", "full", "local"], {"0": 1}, "FLFL", True):
        with pytest.raises(ValueError, match=rf"\b{field}\b"):
            from_config(config | {field: value})
        with pytest.raises(ValueError, match=rf"\b{field}\b"):
            from_config({"model_type": "seeing", "text_config": config | {field: value}})


@pytest.mark.parametrize("field", UNKNOWN)
def test_switched_off_it_changes_nothing(field):
    config = SMALL | {"model_type": "llama"}
    for value in (None, False, 0, -1, [], ""):
        assert from_config(config | {field: value}) == from_config(config)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("value", [[1, 0, 1, 0], [8, 8, 4, 4], ["a", "b", "a", "b"]], ids=str)
def test_a_list_with_something_for_each_layer_is_refused_by_name(kind, value):
    config = SMALL | {"model_type": kind, "depths": value}
    with pytest.raises(ValueError, match=r"\bdepths\b"):
        from_config(config)
    assert from_config(config | {"depths": value[:2]}).caches  # it is for something else


@pytest.mark.parametrize("word", ["swirl", "attention_free", 7, None])
def test_a_kind_of_layer_that_is_not_known_is_refused_by_name(word):
    config = SMALL | {"model_type": "llama", "layer_types": ["full_attention"] * 3 + [word]}
    with pytest.raises(ValueError, match=f"{word} in layer_types"):
        from_config(config)


# Whatever there is in it: a Geometry or a ValueError

FIELDS = sorted(
    {*READ, *NOT_KEPT, *UNKNOWN, "layer_kinds", "vocab_size", "rope_scaling", "rope_parameters"}
    | {field for row in families().values() if row for field in row if field != "inside"}
)
KINDS = sorted(families())
sizes = st.sampled_from([None, 0, -1, 1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 128, 10**12])
plain = st.one_of(
    sizes,
    st.booleans(),
    st.floats(-2, 2),
    st.sampled_from(["", "full", "4", "auto", "multiquery_attention", *MEANS]),
)
names = st.sampled_from(["0", "3", "03", "attention", "full_attn_layers", *FIELDS])
values = st.one_of(
    plain,
    st.lists(plain, max_size=4),
    st.lists(st.sampled_from([*MEANS]), min_size=4, max_size=4),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.dictionaries(names, st.one_of(plain, st.lists(plain, max_size=4)), max_size=3),
    st.dictionaries(names, st.dictionaries(names, plain, max_size=2), max_size=2),
    st.lists(st.dictionaries(names, plain | st.just({}), max_size=2), min_size=4, max_size=4),
)
kinds = st.one_of(st.sampled_from(KINDS), st.sampled_from([None, "", "newlm", 3, [], {}]))


@st.composite
def configs(draw, inside=True):
    """A dict of plausible fields, most often with sizes that make sense."""
    config = dict(SMALL) if draw(st.integers(0, 3)) else {}
    kind = draw(kinds)
    if draw(st.integers(0, 7)):
        config["model_type"] = kind
    own = sorted(family(kind)) or FIELDS
    for _ in range(draw(st.integers(0, 4))):
        field = draw(st.one_of(st.sampled_from(own), st.sampled_from(FIELDS)))
        config[field] = draw(values)
    if inside and draw(st.integers(0, 3)) == 0:
        part = draw(configs(inside=False) | plain | st.lists(plain, max_size=2))
        config[draw(st.sampled_from(INSIDE))] = part
    return config


def geometry(config):
    """The Geometry of a config, or the message of its refusal; any other exception is a crash."""
    before = copy.deepcopy(config)
    try:
        found = from_config(config)
    except ValueError as error:
        found = str(error)
        assert found
    assert config == before, "the dict is the caller's"
    return found


@settings(max_examples=1500, deadline=None)
@given(config=configs(), s=st.integers(0, 40), b=st.integers(1, 5))
def test_any_dict_gives_a_Geometry_or_a_ValueError(config, s, b):
    m = geometry(config)
    if isinstance(m, Geometry):
        assert m.kv_bytes(s, b) <= m.kv_bytes(s + 1, b)
        assert m.kv_bytes(s, b) == b * m.kv_bytes(s)
        assert m.kv_bytes(s, 4 * b, 0.5) <= m.kv_bytes(s, 4 * b, 1) <= m.kv_bytes(s, 4 * b)
        assert m.kv_bytes(s, b, n_gpus=2) <= m.kv_bytes(s, b) <= m.kv_bytes(s, b, block=16)
        assert m.kv_bytes(0) == 0 or any(x.state for x in m.caches)
        assert m.kind and m.g and m.reading and m.windows is not None


@settings(max_examples=300, deadline=None)
@given(config=configs())
def test_any_dict_gives_kv_heads_or_a_ValueError(config):
    try:
        assert kv_heads(config) >= 1
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("kind", [None, "newlm", *KINDS])
def test_a_null_never_crashes(kind):
    config = SMALL | {"model_type": kind}
    fields = {*READ, *NOT_KEPT, *family(kind)} - {"pattern", "inside"}
    geometry(config | dict.fromkeys(fields - SMALL.keys()))
    for field in sorted(fields):
        geometry(config | {field: None})


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_any_field_of_a_file_may_be_null_or_absent(case):
    parts = [(), *[(name,) for name, x in case["config"].items() if isinstance(x, dict)]]
    for path in parts:
        here = case["config"][path[0]] if path else case["config"]
        for field in here:
            for changed in (here | {field: None}, {x: y for x, y in here.items() if x != field}):
                geometry(case["config"] | {path[0]: changed} if path else changed)


@pytest.mark.parametrize(
    "field, value",
    [
        ("block_configs", 3),
        ("compress_rates", [4, 128]),
        ("linear_attn_config", 5),
        ("linear_attn_config", [1, 3]),
        ("model_type", ["llama"]),
        ("model_type", {}),
        ("num_attention_heads", ["a", "b", "c", "d"]),
        ("num_hidden_layers", 10**12),
        ("per_layer_config", [1]),
        ("per_layer_config", {"0": 5}),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_sort_is_refused(field, value):
    with pytest.raises(ValueError, match="layers" if field == "num_hidden_layers" else field):
        from_config(SMALL | {"model_type": "deepseek_v4", "head_dim": 16, field: value})


def test_a_model_that_only_reads_is_refused_as_well():
    with pytest.raises(ValueError, match="in per_layer_config"):
        from_config(SMALL | {"model_type": "bert", "per_layer_config": {"0": 5}})


@pytest.mark.parametrize("config", [[], None, "llama", 3, [{}]])
def test_what_is_no_object_is_refused(config):
    with pytest.raises(ValueError, match=r"it must be an object"):
        from_config(config)


# What was once answered in silence

LONG = {"num_hidden_layers": 4, "num_attention_heads": 6, "hidden_size": 48}


@pytest.mark.parametrize(
    "config, named",
    [
        # an indexer's key as wide as there are heads, in a family that nobody knows
        ({"num_key_value_heads": 6, "index_head_dim": 6}, "index_head_dim 6"),
        ({"num_key_value_heads": 2, "swa_num_key_value_heads": 3}, "swa_num_key_value_heads 3"),
        # states of a size that no field tells
        (
            {"layer_types": ["linear_attention"] * 3 + ["full_attention"]},
            "layers that keep a state",
        ),
        ({"layer_types": ["hybrid"] * 4}, "layers that keep a state"),
        # layers that are none
        ({"attn_layer_indices": [99]}, r"attn_layer_indices \[99\], and 4 layers"),
        (
            {"attn_layer_period": 2, "attn_layer_offset": 7},
            "attn_layer_offset 7; it must be from 0",
        ),
        ({"attn_layer_period": 2, "attn_layer_offset": "1"}, "attn_layer_offset '1'; it must be"),
        (
            {"layer_types": ["full_attention", "jet", "attn", "jet"]},
            "layers called jet, attn in layer",
        ),
    ],
)
def test_what_was_answered_in_silence_is_refused(config, named):
    given = LONG | {"model_type": "newlm", "num_key_value_heads": 2} | config
    with pytest.raises(ValueError, match=named):
        from_config(given)


@pytest.mark.parametrize(
    "field, value",
    [
        ("num_kv_shared_layers", 2),
        ("multi_query", True),
        ("use_cla", True),
        ("kv_lora_rank", 8),
        ("full_attention_interval", 3),
        ("n_shared_head", 3),
        ("multi_query_group_num", 2),
    ],
)
def test_a_field_that_its_class_does_not_read_is_no_number(field, value):
    """transformers' Llama caches the same with and without it; other code may not."""
    given = LONG | {"model_type": "llama", "num_key_value_heads": 6, "qk_rope_head_dim": 4}
    with pytest.raises(ValueError, match=f"config.json has .*{field}"):
        from_config(given | {field: value})


@pytest.mark.parametrize("kind", ["bloom", "gpt2", "gpt_neox", "gptj", "opt"])
def test_a_family_without_groups_has_none(kind):
    with pytest.raises(ValueError, match=r"config\.json has num_key_value_heads"):
        from_config(LONG | {"model_type": kind, "num_key_value_heads": 2})
    assert from_config(LONG | {"model_type": kind, "num_key_value_heads": 6}).kind == "MHA"


@pytest.mark.parametrize("value", [10**12, 10**400, -(10**400), "4", 1e300, float("nan")])
def test_no_number_is_too_large_to_be_refused(value):
    for kind in sorted(x for x in families() if families()[x])[::3]:
        usual = {x: y for x, y in family(kind).items() if x not in ("pattern", "inside")}
        for field in usual:
            with contextlib.suppress(ValueError):  # what it says is tested elsewhere
                from_config(LONG | usual | {"model_type": kind, field: value})
