"""Packages of requirements-examples.txt, without which a test is skipped; `tox -e examples` insists on them."""
from __future__ import annotations

import os
from importlib import import_module

import pytest


def needed(*packages: str) -> None:
    """Skips the module that calls it where a package is missing, or fails there with REQUIRE_EXAMPLES=1."""
    for package in packages:
        if os.environ.get("REQUIRE_EXAMPLES") == "1":
            import_module(package)
        else:
            pytest.importorskip(package, reason=f"needs {package} (tox -e examples)")
