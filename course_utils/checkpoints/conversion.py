"""A checkpoint on the disk with fewer K/V heads: what `pooling.convert` does, file by file."""

import shutil
from operator import index
from pathlib import Path

from safetensors.torch import save_file

from course_utils.attention import listed
from course_utils.checkpoints.reader import INDEX, WHOLE, open_checkpoint, write_json
from course_utils.geometry import kv_heads
from course_utils.pooling import check_dtypes, check_names, mean_pool_kv, pooled

# Whose code knows num_key_value_heads, which old files lack; no model_type is one's own code.
OLD = (None, "llama", "phi")
# What is, or lists, weights: never copied as it is.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".index.json")


def convert_checkpoint(source, target, n_kv_heads, pool=mean_pool_kv):
    """Convert a folder in the Hub's format, file by file, into a new folder.

    source has config.json and model.safetensors, or shards and model.safetensors.index.json. One
    file of weights is in memory at a time; config.json is written last, so that what was broken off
    cannot be loaded. The model's code must know num_key_value_heads, as Llama's and Qwen's does.

    Raises FileNotFoundError if a file of source is missing, FileExistsError if target is not empty,
    ValueError if the number of K/V heads is not divisible by g, or as `pooling.convert` does,
    TypeError if g is no whole number.

    >>> import torch
    >>> from tempfile import mkdtemp
    >>> source, target = Path(mkdtemp()), Path(mkdtemp())
    >>> save_file({"k_proj.weight": torch.ones(4, 3)}, source / "model.safetensors")
    >>> config = '{"model_type": "llama", "num_attention_heads": 4}'
    >>> _ = (source / "config.json").write_text(config)
    >>> convert_checkpoint(source, target, n_kv_heads=2)
    >>> open_checkpoint(target).config
    {'model_type': 'llama', 'num_attention_heads': 4, 'num_key_value_heads': 2}
    """
    source, target, g = Path(source), Path(target), whole(n_kv_heads)
    if not source.is_dir():
        raise FileNotFoundError(
            f"no folder {source}; a model of the Hub is downloaded by "
            "huggingface_hub.snapshot_download(name), which gives back its folder"
        )
    checkpoint = open_checkpoint(source)
    check_parts(checkpoint.config)
    n = kv_heads(checkpoint.config)
    if g < 1 or n % g:
        raise ValueError(f"{n} K/V heads cannot be pooled evenly to {g}; try one of {listed(n)}")
    files = {}  # file → the names of its tensors
    for name in checkpoint.names:
        files.setdefault(checkpoint.files.get(name, WHOLE), []).append(name)
    for file, names in files.items():
        if unlisted := checkpoint.header(file)[1].keys() - names:  # transformers would read them
            raise ValueError(
                f"{INDEX} is broken: it does not say that {min(unlisted)} is in {file}; load the "
                "model with transformers and save it again"
            )
    check_names({name: checkpoint.shape(name) for name in checkpoint.names}, n)
    check_dtypes({name: checkpoint.dtype(name) for name in checkpoint.names})
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty; delete it, or choose another name")
    target.mkdir(parents=True, exist_ok=True)

    for path in source.iterdir():
        if path.is_file() and path.name != "config.json" and not path.name.endswith(WEIGHTS):
            shutil.copyfile(path, target / path.name)
    total_size = 0
    for file, names in files.items():
        weights = pooled(checkpoint.tensors(dict.fromkeys(names)), n, g, pool)
        save_file(weights, target / file, checkpoint.metadata(file) or {"format": "pt"})
        total_size += sum(x.nbytes for x in weights.values())
        del weights  # before the next file is read
    if checkpoint.files:
        write_json(target / INDEX, checkpoint.index | {"metadata": {"total_size": total_size}})
    write_json(target / "config.json", checkpoint.config | {"num_key_value_heads": g})


def whole(n_kv_heads):
    """The number of K/V heads as an int, which json can write; TypeError if it is none."""
    try:
        return int(index(n_kv_heads))
    except TypeError:
        raise TypeError(f"n_kv_heads is {n_kv_heads!r}; give a whole number, as in 2") from None


def check_parts(config):
    """Raise ValueError if a config.json has no number of K/V heads, or counts heads in a part."""
    for key, value in config.items():
        if isinstance(value, dict) and "num_attention_heads" in value:
            raise ValueError(
                f"config.json counts heads in its {key}, so this is a model of several parts; save "
                "the language model in a folder of its own and convert that"
            )
    kind = config.get("model_type")
    if kind not in OLD and "num_key_value_heads" not in config:
        raise ValueError(
            f"config.json of {kind} has no num_key_value_heads, so its code would not know of "
            "fewer K/V heads; Llama's and Qwen's does"
        )
