"""Other Pythons of this machine that tests run what must run on them."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

# Names an interpreter of the environment that Inf1's older framework needs: Python 3.7 with TensorFlow 1.15.
TENSORFLOW_1 = "TF_115_PYTHON"


def pythons(version: str) -> list[str]:
    """The interpreters of this version, such as 3.7: pyenv's, and the one on PATH."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = shutil.which(f"python{version}")
    # pyenv's own stand-ins on PATH work only for the versions that it was told to offer.
    on_path = [found] if found and Path(found).parent.name != "shims" else []
    return on_path + sorted(map(str, root.glob(f"versions/{version}.*/bin/python")))
