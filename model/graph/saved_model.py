"""What the project keeps in a SavedModel folder beside the graph, and how such a folder is published.

Runs in every environment that a detector may live in: Python 3.7, no TensorFlow needed.
"""
from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

# TensorFlow Serving ignores this folder of a SavedModel; ours says in it what the detector is.
METADATA = Path("assets.extra", "detector.json")
# The scope of the nodes between the pictures and the raw head maps, which compilers other than TensorFlow may take,
# and the name of the one call that stands for them where they did.
NETWORK = "network"


class SavedModelError(ValueError):
    """The SavedModel cannot be used or written; the message names its folder."""


def write_metadata(saved_model, metadata: dict) -> None:
    """Adds what is known of the detector to a SavedModel folder."""
    path = Path(saved_model, METADATA)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metadata, indent=1))


def read_metadata(saved_model) -> dict:
    """What the SavedModel says of itself; empty for one that this project did not build. Raises SavedModelError."""
    path = Path(saved_model, METADATA)
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SavedModelError(f"{path}: cannot be read: {error}") from None


@contextmanager
def published(output):
    """A new folder beside `output` that takes its name when the block ends well, and vanishes when it does not."""
    output = Path(output)
    if output.exists():
        raise SavedModelError(f"{output} exists already: choose another folder or remove it")
    partial = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise SavedModelError(f"{output} cannot be written: {error.strerror}") from None
    try:
        yield partial
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
