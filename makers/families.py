"""Write data/families.json: what the classes of transformers take for granted of their files.

    .venv/bin/python -m makers.families > data/families.json

A line for each model_type: null for one that only reads; for one that writes, the fields that
`configs` reads and the number that its class has for them, and the kinds of its layers (`pattern`
there) where its code makes a list of them.
"""

import dataclasses
import inspect
import json
from itertools import product

from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

from course_utils.configs.kinds import FULL, MEANS, pattern
from course_utils.configs.known import DECISIVE, READ, looks_suspect

WRITERS = (
    "CAUSAL_LM",
    "SEQ_TO_SEQ_CAUSAL_LM",
    "SPEECH_SEQ_2_SEQ",
    "IMAGE_TEXT_TO_TEXT",
    "MULTIMODAL_LM",
)

READERS = (
    "MASKED_LM",
    "IMAGE",
    "IMAGE_CLASSIFICATION",
    "AUDIO_CLASSIFICATION",
    "CTC",
    "BACKBONE",
    "TEXT_ENCODING",
    "ZERO_SHOT_IMAGE_CLASSIFICATION",
    "OBJECT_DETECTION",
    "SEMANTIC_SEGMENTATION",
)


def kinds(names):
    """The model types for which transformers has a model in one of these mappings."""
    return {x for name in names for x in getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES")}


def parts(kind):
    """{field: model_type} of the configs inside a config."""
    inside = getattr(CONFIG_MAPPING[kind], "sub_configs", None) or {}
    return {field: x.model_type for field, x in inside.items() if getattr(x, "model_type", None)}


def default(field):
    """The value that a class takes where a file does not say it; None too where it works it out."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def letters(cls, l):
    """The kinds of l layers that the class makes of nothing but l, with windows switched on."""
    fields = {x.name: default(x) for x in dataclasses.fields(cls)}
    given = {"num_hidden_layers": l}
    if "use_sliding_window" in fields:
        given |= {"use_sliding_window": True, "sliding_window": 4}
    if "max_window_layers" in fields:
        given |= {"max_window_layers": 28}
    config = cls(**given)
    types = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    return "".join(MEANS[x] for x in types) if types and len(types) == l else None


def layers(cls):
    """The `pattern` of a class's layers; None if it has none, or too strange a one."""
    try:
        made = {l: letters(cls, l) for l in (*range(12, 20), 61)}
    except (KeyError, NotImplementedError, StrictDataclassError, TypeError):  # it wants more than l
        return None
    if None in made.values():
        return None
    if all(x == (FULL * 28 + "W" * l)[:l] for l, x in made.items()):
        return "max_window_layers"
    for turn, first, last, back in product(range(1, 7), range(4), range(2), ("", "<")):
        of = made[61][::-1] if back else made[61]
        body = of[6 * turn : 7 * turn]
        text = f"{back}{made[61][:first]}|{body}|{made[61][61 - last :]}"
        if all(pattern(text, l) == x for l, x in made.items()):
            return text
    return None


def family(kind):
    """The line of one model_type that writes."""
    cls = CONFIG_MAPPING[kind]
    found = {x.name: default(x) for x in dataclasses.fields(cls) if x.name in READ}
    of_use = int, float, str, bool, list
    found = {name: x for name, x in found.items() if type(x) in of_use and name != "rope_theta"}
    found = {name: x for name, x in found.items() if (name, x) != ("is_encoder_decoder", False)}
    asked = {x for x in DECISIVE if f'"{x}"' in inspect.getsource(cls)}
    names = {x.name for x in dataclasses.fields(cls)} | asked
    found |= {x: None for x in sorted(names - found.keys()) if x in DECISIVE or looks_suspect(x)}
    if kind not in kinds(["MASKED_LM"]):  # an old field, of others it says nothing
        found.pop("is_decoder", None)
    inside = next(
        (x for field, x in parts(kind).items() if field in ("text_config", "decoder")), None
    )
    if inside and "hidden_size" not in found:
        return {"inside": inside}
    made = layers(cls)
    return found | ({"pattern": made} if made and made != "|F|" else {})


def families():
    """{model_type: its line}, in the order of their names."""
    writers, readers = kinds(WRITERS), kinds(READERS)
    for kind in [*writers]:
        writers |= {
            x for field, x in parts(kind).items() if "vision" not in field and "audio" not in field
        }
    writers |= {x for x in CONFIG_MAPPING if x.removesuffix("_text") in writers}
    for kind in [*writers, *readers]:
        side = parts(kind).items()
        readers |= {
            x for field, x in side if kind in readers or "vision" in field or "audio" in field
        }
    known = {x for x in (writers | readers) if x in CONFIG_MAPPING}
    return {kind: family(kind) if kind in writers else None for kind in sorted(known)}


if __name__ == "__main__":
    rows = [f'"{kind}": {json.dumps(row)}' for kind, row in families().items()]
    print("{\n" + ",\n".join(rows) + "\n}")
