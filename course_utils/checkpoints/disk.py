"""Bytes that are kept on the disk, each with its SHA-256, where the Hub's own library says."""

import hashlib
import os
import threading
from contextlib import contextmanager

from huggingface_hub import cached_assets_path, constants

OWN = {"HF_ASSETS_CACHE", "HUGGINGFACE_ASSETS_CACHE"}  # if one is set, HF_HOME moves nothing here


def make_folder(namespace, part):
    """A folder where the Hub's own library keeps what others cache; OSError if it cannot be."""
    with writable():
        return cached_assets_path("one-key-many-queries", namespace, part)


def load(path):
    """What was kept at a path; None if there is nothing, or it is damaged."""
    with writable():
        data = path.read_bytes() if path.exists() else b""
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def keep(path, data):
    """Keep data at a path, whole or not at all; OSError with the remedy if there is no room.

    What is there already is not written again, so that a disk may be read-only.
    """
    if load(path) == data:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    with writable():
        try:
            part.write_bytes(hashlib.sha256(data).digest() + data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def writable():
    """Say of a disk that is full, or not ours to write to, where it is and how to move away."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: the library has found a file there
        why = getattr(error, "strerror", None) or "a file is in its place"
        variable = "HF_ASSETS_CACHE" if OWN & os.environ.keys() else "HF_HOME"
        raise OSError(
            f"the folder {constants.HF_ASSETS_CACHE} cannot be used ({why}): make room in it, or "
            f"set {variable} to another folder and start Python again"
        ) from None
