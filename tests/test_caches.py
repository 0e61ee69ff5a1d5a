"""Proof that `from_config` counts what a model really caches, for every architecture there is.

Of each architecture that transformers can write text with (decoders, encoder–decoders, those that
hear or see), a tiny model of random weights reads 12 and 16 tokens, in a batch of 2, 9 of them at
once and the others one at a time. The bytes of all tensors in its cache then must be exactly those
that `from_config` works out from nothing but the config.json, at 4 bytes a number.

One difference is allowed, for it is one of engines and not of models: a layer with a window of w
tokens keeps w − 1 between two steps in transformers (the next token is the w-th), and w elsewhere.
`at_rest` takes that one token off. And where one tensor is K and V (DeepSeek-V4), a copy of it in
transformers counts once.

Not all is so: REFUSED are architectures whose config.json is refused, with the field that the
message names, and NOT_BUILT those of which this file gets no cache. Both lists may only shrink.
"""

import functools
from dataclasses import replace

import pytest
import transformers
from caches import BATCH, CLASSES, SOURCE, TOKENS, build, read, small
from transformers import CONFIG_MAPPING

from course_utils.geometry import from_config

REFUSED = {  # model_type: what the message names
    "blt": "encoder_config",
    "cpmant": "prompt_length",
    "dory": "n_recurrent_loops",
    "inkling2_loop": "loop_num_passes",
    "inkling2_loop_text": "loop_num_passes",
    "reformer": "attn_layers",
    "unlimited_ocr": "reference_sliding_attention",
    "xlnet": "mem_len",
}
NOT_BUILT = {  # model_type: why
    "gemma4_assistant": "reads the cache of another model, and has none of its own",
    "gemma4_unified_assistant": "reads the cache of another model, and has none of its own",
    "openai-gpt": "its code in transformers keeps no cache",
    "pi0": "moves a robot from pictures and the state of its joints, and writes no text",
    "xlm": "its code in transformers keeps no cache",
}
COUNTED = sorted(CLASSES.keys() - REFUSED.keys() - NOT_BUILT.keys())

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True, scope="module")
def quiet():
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def at_rest(m):
    """The same model with windows as transformers keeps them between two steps: one token less."""
    return replace(m, layers=tuple(replace(x, window=x.window and x.window - 1) for x in m.caches))


@functools.cache
def cached(kind):
    """(what from_config says is kept, its bytes after TOKENS, the bytes of the model's own cache)."""
    config, model = build(kind)
    m = from_config(config)
    said = [at_rest(m).kv_bytes(s, BATCH, 4, n_source=SOURCE) for s in TOKENS]
    tied = any(x.key_dim and not x.value_dim for x in m.caches)
    return m.caches, said, read(kind, model, tied)


@pytest.mark.parametrize("kind", COUNTED)
def test_the_bytes_are_those_of_the_models_own_cache(kind):
    layers, said, kept = cached(kind)
    assert said == kept, "; ".join(map(str, layers))


@pytest.mark.parametrize("kind", REFUSED)
def test_these_are_refused_still_and_the_message_names_what_is_not_known(kind):
    config = CONFIG_MAPPING[kind](**small(CONFIG_MAPPING[kind]))
    with pytest.raises(ValueError, match=REFUSED[kind]):
        from_config(config.to_dict())


@pytest.mark.parametrize("kind", NOT_BUILT)
def test_these_cannot_be_built_still(kind):
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        read(kind, build(kind)[1])


def test_the_count(record_property):
    exact = [kind for kind in COUNTED if cached(kind)[1] == cached(kind)[2]]
    wrong = len(COUNTED) - len(exact)
    count = (
        f"{len(CLASSES)} architectures: {len(exact)} exact, {len(REFUSED)} refused, {wrong} wrong, "
        f"{len(NOT_BUILT)} not built"
    )
    record_property("caches", count)  # printed in the summary, by conftest.py
    assert {*exact, *REFUSED, *NOT_BUILT} == {*CLASSES}
    assert len(exact) >= 0.95 * len(CLASSES)
    assert len(REFUSED) <= 8 and len(NOT_BUILT) <= 5  # they may only shrink


def test_every_kind_of_layer_is_among_them():
    """Else the proof would say nothing of it."""
    found = [x for kind in COUNTED for x in cached(kind)[0]]
    for field in ("window", "latent_dim", "index_dim", "cross", "state"):
        assert sum(bool(getattr(x, field)) for x in found) >= 9, field
    assert any(x.every > 1 for x in found)
    assert any(x.key_dim and not x.value_dim for x in found)
    assert any(0 != x.value_dim != x.key_dim for x in found)
    assert any(len({x.n_kv_heads for x in cached(kind)[0]} - {0}) > 1 for kind in COUNTED)
