"""Exercises of lesson 08: where a tensor is in its file, and how many K/V heads a config has."""

import json
import math
import re
import struct

import torch

from course_utils import geometry
from course_utils.checkpoints.format import byte_range
from course_utils.checks.draws import Call, drawing, given, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.running import is_by_hand
from course_utils.checks.wrong import other_error
from course_utils.geometry import UNSHARED
from course_utils.ladder import kv_heads

WIDTHS = {"BF16": 2, "F32": 4}  # bytes an element
Q, K, V = (f"model.layers.0.self_attn.{x}_proj.weight" for x in "qkv")
NORM = "model.layers.0.input_layernorm.weight"


def beginning(*tensors, more=0, backwards=False, seed=0, **metadata):
    """The first bytes of a safetensors file: length, header, and so many bytes of its data.

    tensors are (name, dtype, shape) in the order of the data; the header lists them by name, or
    backwards.
    """
    header, end = {}, 0
    for name, dtype, shape in tensors:
        begin, end = end, end + math.prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    listed = {"__metadata__": metadata} | dict(sorted(header.items(), reverse=backwards))
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    # no JSON, whatever one makes of it
    data = b"}, x]" + bytes(128 + (seed + i) % 128 for i in range(more - 5))
    return len(text).to_bytes(8, "little") + text + data[:more]


def many_layers(n_layers):
    """The tensors of a file whose header has more bytes than 16 bits can count."""
    names = [f"model.layers.{i}.self_attn.{x}_proj.weight" for i in range(n_layers) for x in "qkv"]
    return [(name, "BF16", (4, 3)) for name in names]


ALIKE = [f"draft.{K}", K.removesuffix(".weight"), K, f"{K}_scale"]  # names that hold each other


def looking(name, *tensors, more=0, **said):
    """The Call of a probe: name is looked up in a file as `beginning` makes it."""
    return Call(look_up, (name, tensors, more, said), another_file)


def look_up(name, tensors, more, said, seed=0):
    """The first bytes of a file, and the name of a tensor."""
    return beginning(*tensors, more=more, seed=seed, **said), name


def another_file(random, row):
    """Other layers, shapes, bytes behind the header, and metadata; a header of the same kind."""
    name, tensors, more, said = row
    while True:
        ahead = random.randint(1, 9)
        old = [size for _, _, shape in tensors for size in shape]
        sizes = iter(resized(most=12)(random, old))
        shapes = [tuple(next(sizes) for _ in shape) for _, _, shape in tensors]
        drawn = (
            moved(name, ahead),
            [(moved(x, ahead), y, s) for (x, y, _), s in zip(tensors, shapes, strict=True)],
            random.randint(6, 40) if more > 5 else more,  # 5 are plain letters
            {key: another_word(random, x) for key, x in said.items()},
        )
        if header_kind(drawn) == header_kind(row):
            return drawn


def moved(name, ahead):
    """The name of a tensor so many layers further on."""
    return re.sub(r"(?<=layers\.)\d+", lambda i: str(int(i[0]) + ahead), name)


def another_word(random, word):
    """A word of metadata with as simple letters."""
    if not isinstance(word, str):
        return word
    return random.choice(("pt", "np", "tf") if word.isascii() else ("Zoë", "Noël", "Joëlle"))


def header_kind(row):
    """How many bytes its length needs, whether they begin as a text can, and how it ends."""
    start, _ = look_up(*row)
    n = int.from_bytes(start[:8], "little")
    return n.bit_length() > 8, n.bit_length() > 16, start[0] < 128, start[7 + n : 8 + n]


class Place:
    """Where a tensor is: data is where the data begins, begin and end count from there."""

    def __init__(self, header_bytes, name):
        self.n_given, self.n = len(header_bytes), int.from_bytes(header_bytes[:8], "little")
        self.data = 8 + self.n
        self.text = header_bytes[8 : self.data].decode()
        self.tensors = json.loads(self.text)
        del self.tensors["__metadata__"]
        info = self.tensors[name]
        self.begin, self.end = info["data_offsets"]
        self.width, self.elements = WIDTHS[info["dtype"]], math.prod(info["shape"])


def ranging(first=lambda at: at.data + at.begin, last=lambda at: at.data + at.end - 1):
    """A byte_range of two numbers, each made from the Place of the tensor."""

    def wrong(header_bytes, name):
        at = Place(header_bytes, name)
        return first(at), last(at)

    return wrong


def behind(start):
    """A byte_range that counts the offsets from start(place of the tensor)."""
    return ranging(lambda at: start(at) + at.begin, lambda at: start(at) + at.end - 1)


def instead(which):
    """A byte_range of another tensor: which(names in the order of the header, the right one)."""

    def wrong(header_bytes, name):
        return byte_range(header_bytes, which(list(Place(header_bytes, name).tensors), name))

    return wrong


def in_line(header_bytes, name):
    """The sizes of the tensors that the header lists before this one, added up."""
    at = Place(header_bytes, name)
    names, sizes = list(at.tensors), [x["data_offsets"] for x in at.tensors.values()]
    first = at.data + sum(end - begin for begin, end in sizes[: names.index(name)])
    return first, first + at.end - at.begin - 1


def of_length(size, order="little"):
    """A byte_range that takes so many bytes, in this order, for the length of the header."""

    def wrong(header_bytes, name):
        n = int.from_bytes(header_bytes[:size], order)
        begin, end = json.loads(header_bytes[8 : 8 + n])[name]["data_offsets"]
        return 8 + n + begin, 8 + n + end - 1

    return wrong


def parsing(part, decode=False):
    """A byte_range that takes part(header_bytes, N) for the header."""

    def wrong(header_bytes, name):
        text = part(header_bytes, int.from_bytes(header_bytes[:8], "little"))
        json.loads(text.decode() if decode else text)
        return byte_range(header_bytes, name)

    return wrong


def with_metadata(header_bytes, name):
    """Every entry of the header asked for data_offsets, __metadata__ as well."""
    n = int.from_bytes(header_bytes[:8], "little")
    header = json.loads(header_bytes[8 : 8 + n])
    return {key: info["data_offsets"] for key, info in header.items()}[name]


def as_text(header_bytes, name):
    """The line of HTTP."""
    first, last = byte_range(header_bytes, name)
    return f"bytes={first}-{last}"


RANGE_MISTAKES = {
    "the offsets taken for places in the file": Mistake(
        behind(lambda at: 0),
        "data_offsets count from the first byte of the data, behind the length and the header: a "
        "tensor at 0 would lie in the length. Add 8 + N to both.",
    ),
    "the offsets as they stand in the header": Mistake(
        ranging(lambda at: at.begin, lambda at: at.end),
        "data_offsets count from the first byte of the data, so add 8 + N to both; and their end "
        "is the first byte that is not the tensor's, so take 1 from it.",
    ),
    "the 8 bytes of the length left out": Mistake(
        behind(lambda at: at.n),
        "N is the length of the JSON alone. Before it are 8 bytes, those of N itself: the data "
        "begins at 8 + N.",
    ),
    "the header left out": Mistake(
        behind(lambda at: 8),
        "Behind the 8 bytes of the length come N bytes of JSON, and only then the data: add 8 + N.",
    ),
    "all bytes given taken for the header": Mistake(
        behind(lambda at: at.n_given),
        "header_bytes may go on behind the header, with the first of the data. Where that begins, "
        "its first 8 bytes say: at 8 + N.",
    ),
    "the spaces at the end of the header not counted": Mistake(
        behind(lambda at: 8 + len(at.text.rstrip().encode())),
        "The header is filled up with spaces, and N counts them. Take N from the first 8 bytes; do "
        "not measure the JSON.",
    ),
    "characters counted, not bytes": Mistake(
        behind(lambda at: 8 + len(at.text)),
        "One of the headers has an ë in it: one character, two bytes. Take N from the first 8 "
        "bytes; do not measure the text.",
    ),
    "the length read from the wrong end": Mistake(
        of_length(8, "big"),
        'The first of the 8 bytes counts least: int.from_bytes(header_bytes[:8], "little"). Read '
        "the other way, the header would be longer than any file.",
    ),
    "two bytes of the length read": Mistake(
        of_length(2),
        "Two bytes count to 65,535, and headers of real models are longer: N is in all of the "
        "first 8 bytes.",
    ),
    "one byte of the length read": Mistake(
        of_length(1),
        "One byte counts to 255: N is in all of the first 8 bytes, header_bytes[:8].",
    ),
    "the header read from 8 to N": Mistake(
        parsing(lambda start, n: start[8:n]),
        "N is how long the JSON is, not where it ends. It begins behind the 8 bytes and ends at "
        "8 + N: header_bytes[8 : 8 + n].",
    ),
    "the last byte of the header left out": Mistake(
        parsing(lambda start, n: start[8 : 7 + n]),
        "The JSON ends at 8 + N, and a slice does not take its end: header_bytes[8 : 8 + n].",
    ),
    "all bytes read as JSON": Mistake(
        parsing(lambda start, n: start),
        "The first 8 bytes are N, no JSON; that begins behind them: header_bytes[8 : 8 + n].",
    ),
    "a tuple of struct.unpack for N": Mistake(
        lambda header_bytes, name: header_bytes[8 : 8 + struct.unpack("<Q", header_bytes[:8])],
        'struct.unpack gives a tuple, also of one number: (n,) = struct.unpack("<Q", …), or [0].',
    ),
    "8 + N added to the first only": Mistake(
        ranging(last=lambda at: at.end - 1),
        "Both offsets count from the first byte of the data: add 8 + N to both.",
    ),
    "8 + N added to the first only, and the end as a slice has it": Mistake(
        ranging(last=lambda at: at.end),
        "Both offsets count from the first byte of the data: add 8 + N to both, and take 1 from "
        "the second.",
    ),
    "8 left out, and the end as a slice has it": Mistake(
        ranging(lambda at: at.n + at.begin, lambda at: at.n + at.end),
        "Two things: before the N bytes of JSON are the 8 of N itself; and the second offset is "
        "the first byte that is not the tensor's, so take 1 from it.",
    ),
    "N left out, and the end as a slice has it": Mistake(
        ranging(lambda at: 8 + at.begin, lambda at: 8 + at.end),
        "Two things: behind the 8 bytes come N bytes of JSON, and only then the data; and the "
        "second offset is the first byte that is not the tensor's, so take 1 from it.",
    ),
    "one byte too early": Mistake(
        ranging(lambda at: at.data + at.begin - 1),
        "The first byte is at 8 + N + begin. Only the second offset is one too many.",
    ),
    "the length read as JSON": Mistake(
        parsing(lambda start, n: start[:n]),
        "The first 8 bytes are N, no JSON; that begins behind them: header_bytes[8 : 8 + n].",
    ),
    "the length read as JSON, and decoded": Mistake(
        parsing(lambda start, n: start[:n], decode=True),
        "The first 8 bytes are N, no JSON; that begins behind them: header_bytes[8 : 8 + n].",
    ),
    "all that was given read as JSON": Mistake(
        parsing(lambda start, n: start[8:]),
        "header_bytes may go on behind the header, with the first of the data, which is no JSON: "
        "header_bytes[8 : 8 + n].",
    ),
    "data_offsets asked of __metadata__": Mistake(
        with_metadata,
        "__metadata__ is in the header, too, and has no data. Look only tensor_name up.",
    ),
    "the end as a slice has it": Mistake(
        ranging(last=lambda at: at.data + at.end),
        "The second offset is the first byte behind the tensor, as in a slice. HTTP sends the last "
        "byte, too: you would get one of the next tensor. Take 1 from it.",
    ),
    "the last byte left out": Mistake(
        ranging(last=lambda at: at.data + at.end - 2),
        "One byte too few: last - first + 1 must be end - begin, the bytes of the tensor.",
    ),
    "first and a number of bytes": Mistake(
        ranging(last=lambda at: at.end - at.begin),
        "The second number is how many bytes the tensor has. HTTP wants the place of its last one.",
    ),
    "elements counted, not bytes": Mistake(
        ranging(last=lambda at: at.data + at.begin + at.elements - 1),
        "The shape says how many numbers there are; each takes 2 bytes in BF16 and 4 in F32. No "
        "need to count: both data_offsets are bytes, use the second.",
    ),
    "four bytes an element, whatever the dtype": Mistake(
        ranging(last=lambda at: at.data + at.begin + 4 * at.elements - 1),
        "An element of BF16 takes two. No need to count: both data_offsets are bytes, use the "
        "second.",
    ),
    "two bytes an element, whatever the dtype": Mistake(
        ranging(last=lambda at: at.data + at.begin + 2 * at.elements - 1),
        "An element of F32 takes four. No need to count: both data_offsets are bytes, use the "
        "second.",
    ),
    "the offsets multiplied by the bytes of an element": Mistake(
        ranging(
            lambda at: at.data + at.begin * at.width, lambda at: at.data + at.end * at.width - 1
        ),
        "data_offsets are bytes, not elements: end - begin is what the whole tensor takes.",
    ),
    "the first tensor of the header, whatever the name": Mistake(
        instead(lambda names, name: names[0]),
        "The header is a dict from names to dtype, shape and data_offsets: look tensor_name up.",
    ),
    "a name that begins with the one asked for": Mistake(
        instead(lambda names, name: next(x for x in names if x.startswith(name))),
        "Several names can begin so, weight and weight_scale: look up the name itself, "
        "header[tensor_name].",
    ),
    "the last name that begins with the one asked for": Mistake(
        instead(lambda names, name: [x for x in names if x.startswith(name)][-1]),
        "Several names can begin so, weight and weight_scale: look up the name itself, "
        "header[tensor_name].",
    ),
    "a name that has the one asked for in it": Mistake(
        instead(lambda names, name: next(x for x in names if name in x)),
        "Several names can have it in them: look up the name itself, header[tensor_name].",
    ),
    "the last name that has the one asked for in it": Mistake(
        instead(lambda names, name: [x for x in names if name in x][-1]),
        "Several names can have it in them: look up the name itself, header[tensor_name].",
    ),
    "a name that the one asked for has in it": Mistake(
        instead(lambda names, name: next(x for x in names if x in name)),
        "A shorter name can be in it: look up the name itself, header[tensor_name].",
    ),
    "the next tensor of the header": Mistake(
        instead(lambda names, name: names[(names.index(name) + 1) % len(names)]),
        "One too far: __metadata__ is in the header, too, and has no data. Look tensor_name up.",
    ),
    "the sizes of the tensors before it added up": Mistake(
        in_line,
        "The header need not list the tensors in the order of the data. Each has its own "
        "data_offsets: no sum is needed.",
    ),
    "all of the data": Mistake(
        ranging(
            lambda at: at.data,
            lambda at: at.data + max(x["data_offsets"][1] for x in at.tensors.values()) - 1,
        ),
        "That is every tensor of the file, gigabytes in a real one. Take the data_offsets of "
        "tensor_name.",
    ),
    "last and first swapped": Mistake(
        lambda header_bytes, name: byte_range(header_bytes, name)[::-1],
        "The numbers are right: return first, then last.",
    ),
    "floats for whole numbers": Mistake(
        lambda header_bytes, name: tuple(map(float, byte_range(header_bytes, name))),
        "The numbers are right, but bytes are counted in whole ones: / gives a float, // a whole "
        "number, and here neither is needed.",
    ),
    "a tensor for two numbers": Mistake(
        lambda header_bytes, name: torch.tensor(byte_range(header_bytes, name)),
        "The numbers are right. Return the two of them, plain numbers: return first, last.",
    ),
    "a text for two numbers": Mistake(
        as_text,
        "The numbers are right. Return the two of them: return first, last. Who asks the server "
        "writes the line.",
    ),
}

LLAMA_3_8B = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8}
LLAMA_1_7B = {"model_type": "llama", "num_attention_heads": 32}
LLAMA_2_7B = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 32}
NULL = {"model_type": "llama", "num_attention_heads": 40, "num_key_value_heads": None}
MQA = {"model_type": "gemma", "num_attention_heads": 8, "num_key_value_heads": 1}
STARCODER = {"model_type": "gpt_bigcode", "n_head": 48, "multi_query": True}
NOT_SHARED = {"model_type": "gpt_bigcode", "n_head": 12, "multi_query": False}
FALCON_7B = {
    "model_type": "falcon",
    "num_attention_heads": 71,
    "num_kv_heads": 71,
    "multi_query": True,
    "new_decoder_architecture": False,
}
FALCON_180B = {  # that of Falcon-40B has no multi_query
    "model_type": "falcon",
    "num_attention_heads": 232,
    "num_kv_heads": 8,
    "multi_query": True,
    "new_decoder_architecture": True,
}
FALCON_1B = {  # made up but for its kind: each head of Falcon-RW-1B has its own
    "model_type": "falcon",
    "num_attention_heads": 32,
    "num_kv_heads": 8,
    "multi_query": False,
    "new_decoder_architecture": False,
}
NULLS = {  # made up
    "model_type": "gpt2",
    "n_head": 16,
    "multi_query": None,
    "num_key_value_heads": None,
    "kv_lora_rank": None,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
}
CHATGLM2 = {"model_type": "chatglm", "num_attention_heads": 32, "multi_query_group_num": 2}
NEMOTRON = {  # Super, 49B: block_configs says it, block by block
    "model_type": "nemotron-nas",
    "num_attention_heads": 64,
    "num_key_value_heads": None,
}
CONFIGS = (
    LLAMA_3_8B,
    LLAMA_1_7B,
    LLAMA_2_7B,
    NULL,
    MQA,
    STARCODER,
    NOT_SHARED,
    FALCON_7B,
    FALCON_180B,
    FALCON_1B,
    NULLS,
    DEEPSEEK_V3,
    CHATGLM2,
    NEMOTRON,
)


def another_config(random, row):
    """The same fields with other numbers, of another family where its own is not told by them."""
    (config,) = row
    sizes = {name: x for name, x in config.items() if type(x) is int}
    numbers = resized(128, kept=lambda n, *others: [n % x == 0 for x in others])
    drawn = config | dict(zip(sizes, numbers(random, (*sizes.values(),)), strict=True))
    if config["model_type"] in UNSHARED:
        called_n_head = "bloom", "gpt2", "gptj"
        families = [x for x in UNSHARED if (x in called_n_head) == ("n_head" in config)]
        drawn["model_type"] = random.choice(families)
    elif not is_flagged(config) and not is_latent(config):
        drawn["model_type"] = random.choice(("gemma", "mistral", "chatglm", "nemotron-nas"))
    return (drawn,)


def ask(fn, config):
    """What fn gives; in words where None was read or meant, or an error was no answer."""
    try:
        got = fn(config)
    except ValueError as error:
        if is_refused(config) or not is_by_hand(error):
            raise
        return "a ValueError"
    except Exception as error:
        if not is_refused(config) or not is_by_hand(error):
            raise
        return other_error(error)
    if isinstance(got, Exception):
        return "an error returned, not raised"
    if is_refused(config) and isinstance(got, str):
        return "a text"
    return "None" if got is None and (None in config.values() or is_refused(config)) else got


def is_latent(config):
    """Whether the model caches a latent."""
    return bool(config.get("kv_lora_rank"))


def is_unknown(config):
    """Whether the file does not say g, and its family is none of UNSHARED."""
    says = is_latent(config) or is_flagged(config) or config.get("num_key_value_heads")
    return not says and config["model_type"] not in UNSHARED


def is_refused(config):
    """Whether there is no answer but an error."""
    return is_latent(config) or is_unknown(config)


def is_new(config):
    """Whether it is Falcon-180B's kind."""
    return bool(config.get("new_decoder_architecture"))


def is_flagged(config):
    """Whether a flag says g."""
    return is_new(config) or config.get("multi_query") is not None


def is_other(config):
    """Whether the family is none of UNSHARED, and num_key_value_heads says g."""
    counted = config.get("num_key_value_heads") and not is_refused(config)
    return bool(counted) and config["model_type"] not in UNSHARED


def query_heads(config):
    """n by either of its names."""
    return config.get("num_attention_heads") or config["n_head"]


def group_size(config):
    """r where there are groups."""
    return 1 if is_refused(config) else query_heads(config) // kv_heads(config)


def unsaid(config):
    """Whether each query head has its own, as the file says or by the family's rule."""
    return not is_refused(config) and group_size(config) == 1


def refused(config, error=ValueError):
    """An error where an answer should be."""
    raise error("refused")


def field(*names):
    """A kv_heads that knows the first of these fields that is there, or else n."""
    return lambda config: next((config[x] for x in names if config.get(x)), query_heads(config))


def by_presence(config):
    """A kv_heads that asks whether a field is there, not whether it is null."""
    if "kv_lora_rank" in config:
        return refused(config)
    if config.get("new_decoder_architecture") or "multi_query" in config:
        return kv_heads(config) if config.get("multi_query") else query_heads(config)
    return config["num_key_value_heads"] if "num_key_value_heads" in config else kv_heads(config)


def but(where, answer):
    """A kv_heads that is right but where where(config), and gives answer(config) there."""
    return lambda config: answer(config) if where(config) else kv_heads(config)


REFUSED = {
    "a latent": is_latent,
    "what is unknown": is_unknown,
    "what must be refused": is_refused,
}
INSTEAD = {  # of a ValueError
    "None": (
        lambda config: None,
        "whoever multiplies by g stumbles over a None much later: raise a ValueError that says why "
        "there is no answer.",
    ),
    "a text": (
        lambda config: "no answer",
        "whoever multiplies by g stumbles over a text much later: raise a ValueError.",
    ),
    "0": (
        lambda config: 0,
        "whoever multiplies by g gets a cache of 0 bytes, and believes it: raise a ValueError.",
    ),
    "an error of another kind": (
        lambda config: refused(config, TypeError),
        "who calls waits for a ValueError: raise one that says why there is no answer.",
    ),
    "an assert": (
        lambda config: refused(config, AssertionError),
        "python -O skips every assert, and who calls waits for a ValueError.",
    ),
    "an error returned": (
        lambda config: ValueError("no answer"),
        "an error that is returned stops nobody: write raise in place of return.",
    ),
}

HEADS_MISTAKES = {
    "the query heads for all": Mistake(
        query_heads,
        "That is n. Llama-3-8B has 32 query heads and 8 K/V heads: num_key_value_heads says so.",
    ),
    "r for g": Mistake(
        group_size,
        "That is r, the query heads of a group. Asked for is g, the number of K/V heads.",
    ),
    "one head where no field counts them": Mistake(
        but(unsaid, lambda config: 1),
        "In a family of UNSHARED, a file that says nothing of K/V heads means that nothing is "
        "shared: g = n.",
    ),
    "num_key_value_heads, or else one": Mistake(
        lambda config: config.get("num_key_value_heads") or 1,
        "A Llama that says nothing of K/V heads does not share them: each query head has its own, "
        "g = n. And some families have other names for it.",
    ),
    "null taken for a number": Mistake(
        but(
            lambda config: config.get("num_key_value_heads", "absent") is None,
            lambda config: None,
        ),
        "Here the field is there, and null. get(name, default) gives the default only where it is "
        "absent, and `in` says yes: write config.get(name) or n.",
    ),
    "null taken for there": Mistake(
        by_presence,
        "A field can be in the dict and be null: `in` says yes. But then it does not apply: ask "
        "config.get(name), which is None in both cases.",
    ),
    "null taken for a number, and no other family known": Mistake(
        lambda config: config.get("num_key_value_heads", query_heads(config)),
        "get(name, default) gives the default only where the field is absent. Here it is there, "
        "and null: write config.get(name) or n. After that come StarCoder and Falcon.",
    ),
    "num_key_value_heads, or else n": Mistake(
        field("num_key_value_heads"),
        "Right for Llama and many others. But StarCoder and Falcon have multi_query: all query "
        "heads share one K/V head.",
    ),
    "multi_query never asked": Mistake(
        field("num_key_value_heads", "num_kv_heads"),
        "StarCoder has no other field than multi_query: true for it. All query heads share one K/V "
        "head.",
    ),
    "multi_query false taken for true": Mistake(
        but(lambda config: config.get("multi_query") is False, lambda config: 1),
        "The field can be there and say false: then each query head has its own, g = n.",
    ),
    "multi_query asked whether it is there": Mistake(
        but(lambda config: "multi_query" in config and not is_new(config), lambda config: 1),
        "The field can be there and say false, or null. Ask what it says.",
    ),
    "num_kv_heads whenever it is there": Mistake(
        but(lambda config: "num_kv_heads" in config, lambda config: config["num_kv_heads"]),
        "It counts only where new_decoder_architecture says true; it can be there and say false. "
        "Falcon-7B has 71 there, and one K/V head: its code never reads them.",
    ),
    "multi_query left out": Mistake(
        but(lambda config: config.get("multi_query") and not is_new(config), query_heads),
        "All else is right. With multi_query: true all query heads share one K/V head.",
    ),
    "the decoy of Falcon-7B taken": Mistake(
        but(
            lambda config: config.get("multi_query") and not is_new(config),
            lambda config: config.get("num_kv_heads") or 1,
        ),
        "Its num_kv_heads says 71, and the model's code never reads it: with multi_query there is "
        "one K/V head. The cache tells: (1, 1, s, 64).",
    ),
    "multi_query asked before new_decoder_architecture": Mistake(
        but(lambda config: config.get("new_decoder_architecture"), lambda config: 1),
        "Falcon-180B has multi_query: true, and 8 K/V heads: with new_decoder_architecture it is "
        "num_kv_heads that counts. Ask for that first.",
    ),
    "multi_query false left to the family": Mistake(
        but(lambda config: config.get("multi_query") is False, refused),
        "multi_query: false is an answer, whatever the family: each query head has its own, g = n.",
    ),
    "num_key_value_heads of a latent model taken": Mistake(
        but(is_latent, lambda config: config["num_key_value_heads"]),
        "All else is right. But DeepSeek-V3 caches no heads: kv_lora_rank says that it caches a "
        "latent, from which 128 heads are made when they are needed. Raise a ValueError.",
    ),
    "a latent counted as one head": Mistake(
        but(is_latent, lambda config: 1),
        "All else is right, and a latent is shared by all heads, as in MQA. But keys and values "
        "are both made from it, and it is wider than a head. Raise a ValueError.",
    ),
    "the width of the latent": Mistake(
        but(is_latent, lambda config: config["kv_lora_rank"]),
        "All else is right. But these are numbers, not heads: raise a ValueError.",
    ),
    "MHA for what is unknown": Mistake(
        but(is_unknown, query_heads),
        "All else is right. But that a file lacks the field means g = n only where the code of the "
        "family says so. ChatGLM2 has 2 K/V heads, in a field of its own: where model_type is none "
        "of UNSHARED, raise a ValueError.",
    ),
    "MHA for what is unknown, and a latent's heads counted": Mistake(
        but(is_refused, lambda config: config.get("num_key_value_heads") or query_heads(config)),
        "Two are left, and both must be refused with a ValueError: a kv_lora_rank, which means "
        "that no heads are cached, and a family that is none of UNSHARED.",
    ),
    "one head for what is unknown": Mistake(
        but(is_unknown, lambda config: 1),
        "All else is right. But multi_query_group_num is another field than multi_query: where "
        "the file does not say g, and model_type is none of UNSHARED, raise a ValueError.",
    ),
    "a field of another family guessed": Mistake(
        but(
            is_unknown,
            lambda config: config.get("multi_query_group_num") or query_heads(config),
        ),
        "All else is right, and 2 is what ChatGLM2 has. But the next family has another name for "
        "it, and then g = n would be wrong again: raise a ValueError.",
    ),
    "the family asked before num_key_value_heads": Mistake(
        but(is_other, refused),
        "Gemma is none of UNSHARED, and its file says g plainly. What the family's code does "
        "counts only where the file does not say it: ask for num_key_value_heads first.",
    ),
    "the family asked before all else": Mistake(
        but(lambda config: config["model_type"] not in UNSHARED, refused),
        "What the family's code does counts only where the file does not say g: ask for the flags "
        "and for num_key_value_heads first.",
    ),
    "an unshared family refused": Mistake(
        but(
            lambda config: (
                not is_flagged(config)
                and not is_refused(config)
                and not config.get("num_key_value_heads")
            ),
            refused,
        ),
        "Where model_type is one of UNSHARED, absent or null is an answer: g = n.",
    ),
    "a latent of null taken for one": Mistake(
        but(lambda config: "kv_lora_rank" in config, refused),
        "The field can be there and say null: then no latent is cached. Ask what it says: if "
        "config.get(name).",
    ),
    "num_kv_heads where multi_query is false": Mistake(
        but(
            lambda config: config.get("multi_query") is False,
            lambda config: config.get("num_kv_heads") or query_heads(config),
        ),
        "num_kv_heads counts only with new_decoder_architecture. Without, and with multi_query "
        "false, each query head has a K/V head of its own: n.",
    ),
    "g = n refused": Mistake(
        but(lambda config: config.get("num_key_value_heads") == query_heads(config), refused),
        "A model may say that each query head has its own K/V head: that is MHA, g = n.",
    ),
    "0 where no field counts them": Mistake(
        but(unsaid, lambda config: 0),
        "In a family of UNSHARED, a file that says nothing of K/V heads means that nothing is "
        "shared: g = n.",
    ),
    "a float": Mistake(
        lambda config: float(kv_heads(config)),
        "Heads are whole things: // gives 8, / gives 8.0.",
    ),
    "a field that is not there": Mistake(
        lambda config: config["num_key_value_heads"],
        "config[name] stops where the field is absent; config.get(name) gives None there. Then say "
        "what holds: config.get(name) or n.",
    ),
    "n by one name only": Mistake(
        lambda config: config["num_attention_heads"],
        "StarCoder calls it n_head: config.get(…) or config.get(…). And n is not yet g.",
    ),
    "null taken for a number, and n by one name only": Mistake(
        lambda config: config.get("num_key_value_heads", config["num_attention_heads"]),
        "Two things: get(name, default) gives the default only where the field is absent, not "
        "where it is null, so write config.get(name) or n; and StarCoder calls n n_head.",
    ),
    "num_key_value_heads, or else n by one name": Mistake(
        lambda config: config.get("num_key_value_heads") or config["num_attention_heads"],
        "Right for Llama. StarCoder calls n n_head, and says multi_query: all query heads share "
        "one K/V head.",
    ),
    **{
        f"{name} for {what}": Mistake(but(where, answer), f"All else is right. But {see}")
        for what, where in REFUSED.items()
        for name, (answer, see) in INSTEAD.items()
    },
}

EXERCISES = {
    "08.byte_range": Exercise(
        reference=byte_range,
        more="suggests the nearest names where there is no such tensor",
        **drawing(
            looking(V, (K, "BF16", (6, 10)), (V, "BF16", (6, 10)), format="pt"),
            looking(K, (K, "BF16", (3, 7)), (Q, "BF16", (9, 7)), more=5, format="flax"),
            looking(NORM, (V, "F32", (4, 9)), (NORM, "F32", (9,)), (K, "F32", (4, 9)), more=20),
            looking(
                K,
                (Q, "BF16", (12, 5)),
                (NORM, "F32", (5,)),
                (K, "BF16", (4, 5)),
                (V, "BF16", (4, 5)),
                more=33,
                by="Zoë",
            ),
            looking(K, *((name, "BF16", (4, 3)) for name in ALIKE), more=9),
            looking(K, *((name, "F32", (2, 5)) for name in ALIKE), more=9, backwards=True),
            looking("model.layers.11.self_attn.k_proj.weight", *many_layers(240), more=7),
        ),
        returns=("first", "last"),
        mistakes=RANGE_MISTAKES,
        hints=(
            "A safetensors file is 8 bytes, which say N; then N bytes of JSON, the header; then "
            "the data. All you need is in the first 8 + N bytes.",
            'N is int.from_bytes(header_bytes[:8], "little"), and json.loads(header_bytes[8 : 8 + '
            "N]) is a dict: look tensor_name up, and in what you find, data_offsets.",
            "The two offsets count from where the data begins, 8 + N, and the second is the first "
            "byte that is not the tensor's. HTTP wants the last one that is.",
        ),
    ),
    "08.kv_heads": Exercise(
        reference=kv_heads,
        layer=geometry.kv_heads,
        more="also knows other families' fields, and refuses layers that differ",
        **drawing(*map(given, CONFIGS), other=another_config),
        returns=("g",),
        mistakes=HEADS_MISTAKES,
        hints=(
            "Begin with Llama: num_key_value_heads is g. Where it is absent or null, "
            "config.get(name) gives None: then n in the families of UNSHARED, an error in others.",
            "n has two names, num_attention_heads and n_head. multi_query can be there and say "
            "false: then it is n in any family. config.get(name) is None where it is absent.",
            "Write the rules one below the other, in the order of the list, each an if with a "
            "return or a raise: so the first that applies wins.",
        ),
        play=ask,
    ),
}
