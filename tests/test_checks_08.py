"""Exercises of lesson 08: their probes are real files and configs, and what a learner is told."""

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from course_utils.checks import lesson_08
from course_utils.checks.engine import Exercise, examine, find, outcomes
from course_utils.geometry import UNSHARED, from_config, model

RANGE, HEADS = find("08.byte_range"), find("08.kv_heads")
TORCH = {"F32": torch.float32, "BF16": torch.bfloat16}


def header_of(header_bytes):
    n = int.from_bytes(header_bytes[:8], "little")
    return n, json.loads(header_bytes[8 : 8 + n])


@pytest.mark.parametrize("header_bytes, name", RANGE.probes)
def test_the_probes_begin_files_that_safetensors_reads(header_bytes, name, tmp_path):
    n, header = header_of(header_bytes)
    assert n % 8 == 0
    end = max(x["data_offsets"][1] for key, x in header.items() if key != "__metadata__")
    assert len(header_bytes) <= 8 + n + end
    numbers = torch.Generator().manual_seed(0)
    data = torch.randint(0, 64, (end,), dtype=torch.uint8, generator=numbers).numpy().tobytes()
    file = header_bytes[: 8 + n] + data
    (tmp_path / "x.safetensors").write_bytes(file)
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        expected = opened.get_tensor(name)
    first, last = RANGE.reference(header_bytes, name)
    got = torch.frombuffer(bytearray(file[first : last + 1]), dtype=TORCH[header[name]["dtype"]])
    assert torch.equal(got.reshape(expected.shape), expected)


def test_the_reference_finds_what_safetensors_wrote():
    weights = {"b": torch.arange(6.0), "a": torch.ones(3, 2, dtype=torch.bfloat16)}
    file = save(weights, {"format": "pt"})
    for name, x in weights.items():
        first, last = RANGE.reference(file, name)
        assert file[first : last + 1] == x.view(torch.uint8).numpy().tobytes()


def test_the_probes_differ_in_what_a_learner_may_overlook():
    headers = [header_of(header_bytes) for header_bytes, _ in RANGE.probes]
    given = [len(header_bytes) for header_bytes, _ in RANGE.probes]
    behind = [length - 8 - n for length, (n, _) in zip(given, headers, strict=True)]
    assert behind[0] == 0 and min(behind[1:]) > 0  # the easy one ends where its header ends
    ends = {
        start[8 + n - 1 : 8 + n] for (start, _), (n, _) in zip(RANGE.probes, headers, strict=True)
    }
    assert ends == {b" ", b"}"}
    assert all("__metadata__" in header for _, header in headers)
    named = zip(headers, RANGE.probes, strict=True)
    dtypes = {header[name]["dtype"] for (_, header), (_, name) in named}
    assert dtypes == {"F32", "BF16"}


@pytest.mark.parametrize(
    "config, name",
    [
        (lesson_08.LLAMA_3_8B, "Llama-3 8B"),
        (lesson_08.LLAMA_1_7B, "Llama-1 7B"),
        (lesson_08.NULL, "Llama-2 13B"),
        (lesson_08.STARCODER, "StarCoder 15.5B"),
        (lesson_08.FALCON_7B, "Falcon-7B"),
        (lesson_08.FALCON_180B, "Falcon-180B"),
        (lesson_08.DEEPSEEK_V3, "DeepSeek-V3 (671B)"),
    ],
)
def test_the_configs_are_those_of_the_table(config, name):
    sizes = {"num_hidden_layers": 1, "hidden_size": 1024, "head_dim": 64, "qk_rope_head_dim": 64}
    said, row = from_config(sizes | config), model(name)
    for field in ("kind", "n_heads", "n_kv_heads", "latent_dim"):
        assert getattr(said, field) == getattr(row, field)


def test_no_reference_fails_but_where_it_must_refuse():
    assert all(isinstance(x, tuple) for x in outcomes(RANGE, RANGE.reference))
    *numbers, latent, chatglm2, nemotron = outcomes(HEADS, HEADS.reference)
    assert numbers == [8, 32, 32, 40, 1, 1, 12, 1, 8, 32, 16]
    assert all(isinstance(error, ValueError) for error in (latent, chatglm2, nemotron))


def test_bytes_are_told_by_their_number():
    first = len(RANGE.probes[0][0])
    message = examine(RANGE, lambda header_bytes, name: header_bytes).message
    assert f"for header_bytes ({first} bytes), tensor_name = model.layers.0." in message
    assert message.endswith(f"return 2 things, first, last; you returned {first} bytes")
    reading = Exercise(lambda data: data[:3], [(b"12345",)], ("the bytes",), {}, ())
    assert examine(reading, lambda data: data[:3]).passed
    assert examine(reading, lambda data: bytearray(data[:3])).message.endswith(
        "the bytes is bytearray(b'123'), it should be 3 bytes"
    )


def test_a_config_is_shown_whole():
    message = examine(HEADS, lambda config: 4).message
    shown = re.search(r"for config = (\{.*\})\n", message).group(1)
    assert shown == str(lesson_08.LLAMA_3_8B)


def every_tensor_at_once(header_bytes, tensor_name):
    n, header = header_of(header_bytes)
    places = {name: info["data_offsets"] for name, info in header.items()}
    begin, end = places[tensor_name]
    return 8 + n + begin, 8 + n + end - 1


def header_to_the_end(header_bytes, tensor_name):
    n = int.from_bytes(header_bytes[:8], "little")
    begin, end = json.loads(header_bytes[8:])[tensor_name]["data_offsets"]
    return 8 + n + begin, 8 + n + end - 1


@pytest.mark.parametrize(
    "fn, diagnosis, line, error",
    [
        (
            every_tensor_at_once,
            "data_offsets asked of __metadata__",
            "places = {",
            "KeyError: 'data_offsets'",
        ),
        (
            header_to_the_end,
            "all that was given read as JSON",
            "begin, end = json.loads",
            "JSONDecodeError: Extra data",
        ),
        (lambda header_bytes, name: undefined, "an error", "", "NameError: "),  # noqa: F821
    ],
)
def test_a_header_read_wrongly_is_shown_with_its_line(fn, diagnosis, line, error):
    result = examine(RANGE, fn)
    assert result.diagnosis == diagnosis
    assert f"\nline: {line}" in result.message and f"\n{error}" in result.message


def from_big_endian_text(header_bytes, tensor_name):
    n = int(header_bytes[:8].hex(), 16)
    text = header_bytes[8 : 8 + n].decode()
    begin, end = json.loads(text)[tensor_name]["data_offsets"]
    return 8 + n + begin, 7 + n + end


def to_the_next_tensor(header_bytes, tensor_name):
    first, last = RANGE.reference(header_bytes, tensor_name)
    return [first, last + 1]


def without_the_length(header_bytes, tensor_name):
    n, header = header_of(header_bytes)
    return tuple(n + x - i for i, x in enumerate(header[tensor_name]["data_offsets"]))


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (from_big_endian_text, "the length read from the wrong end"),
        (to_the_next_tensor, "the end as a slice has it"),
        (without_the_length, "the 8 bytes of the length left out"),
        (lambda header_bytes, name: header_of(header_bytes)[1][name]["data_offsets"], None),
        (lambda header_bytes, name: (0, 0), "something else"),
        (lambda header_bytes, name: slice(*RANGE.reference(header_bytes, name)), "something else"),
    ],
)
def test_a_mistake_in_a_range_is_known_in_another_spelling(fn, diagnosis):
    expected = diagnosis or "the offsets as they stand in the header"
    assert examine(RANGE, fn).diagnosis == expected


def any_of(*fields):
    def heads(config):
        return next(config[field] for field in fields if config.get(field))

    return heads


def asked_too_early(config):
    if config.get("kv_lora_rank"):
        raise ValueError("a latent")
    if config.get("multi_query"):
        return 1
    return any_of("num_key_value_heads", "num_attention_heads", "n_head")(config)


def by_default(config):
    if config.get("multi_query"):
        return config["num_kv_heads"] if config.get("new_decoder_architecture") else 1
    return config.get(
        "num_key_value_heads", config.get("num_attention_heads", config.get("n_head"))
    )


def trusting(latent):
    def heads(config):
        return latent(config) if config.get("kv_lora_rank") else HEADS.reference(config)

    return heads


def in_order(*, refusing=True, false_counts=True, guess=None):
    """The rules of the task one below the other, as a learner writes them."""

    def heads(config):
        n = config.get("num_attention_heads") or config.get("n_head")
        if config.get("kv_lora_rank") and refusing:
            raise ValueError("a latent")
        if config.get("new_decoder_architecture"):
            return config["num_kv_heads"]
        if config.get("multi_query"):
            return 1
        if config.get("multi_query") is False and false_counts:
            return n
        if config.get("num_key_value_heads"):
            return config["num_key_value_heads"]
        if config["model_type"] in UNSHARED:
            return n
        if guess:
            return guess(config, n)
        raise ValueError("unknown")

    return heads


def family_first(config):
    if config["model_type"] not in UNSHARED:
        raise ValueError("unknown")
    return HEADS.reference(config)


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (any_of("num_attention_heads", "n_head"), "the query heads for all"),
        (
            any_of("num_key_value_heads", "num_attention_heads", "n_head"),
            "num_key_value_heads, or else n",
        ),
        (
            any_of("num_kv_heads", "num_key_value_heads", "num_attention_heads", "n_head"),
            "multi_query never asked",
        ),
        (asked_too_early, "multi_query asked before new_decoder_architecture"),
        (trusting(lambda config: 128), "num_key_value_heads of a latent model taken"),
        (trusting(lambda config: None), "None for a latent"),
        (trusting(lambda config: print("a latent")), "None for a latent"),
        (trusting(lambda config: 576), "something else"),
        (trusting(lambda config: config["no such field"]), "something else"),
        (in_order(guess=lambda config, n: n), "MHA for what is unknown"),
        (in_order(guess=lambda config, n: 1), "one head for what is unknown"),
        (in_order(guess=lambda config, n: None), "None for what is unknown"),
        (in_order(guess=lambda config, n: print("unknown")), "None for what is unknown"),
        (
            in_order(guess=lambda config, n: config.get("multi_query_group_num", n)),
            "a field of another family guessed",
        ),
        (
            in_order(refusing=False, guess=lambda config, n: n),
            "MHA for what is unknown, and a latent's heads counted",
        ),
        (in_order(refusing=False), "num_key_value_heads of a latent model taken"),
        (in_order(false_counts=False), "multi_query false left to the family"),
        (family_first, "the family asked before all else"),
        (lambda config: config["num_key_value_heads"], "a field that is not there"),
        (lambda config: config["no such field"], "an error"),
        (lambda config: config.get("num_key_value_heads"), "nothing returned"),
    ],
)
def test_a_mistake_in_the_heads_is_known_in_another_spelling(fn, diagnosis):
    assert examine(HEADS, fn).diagnosis == diagnosis


def test_null_is_told_from_a_forgotten_return_also_where_latents_are_not_refused():
    result = examine(HEADS, by_default)
    assert result.diagnosis == "null taken for a number"
    assert result.message.endswith("g is 'None', it should be 40")
