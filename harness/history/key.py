"""The key of a run: what must be equal for its speed to be compared with another's.

The gate composes it (fixtures/provenance.py). The versions of the SDK are a part of their own: a comparison across an
upgrade is possible where it is asked for, because an upgrade is itself a release to be judged.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SDK = ("tensorflow", "tensorflow_neuron", "neuron_cc")


def digest(key: Mapping[str, Any]) -> str:
    """A short name for the key: 12 digits for all but the SDK, a dash, and 6 for the SDK."""
    return f"{_sha256(without_sdk(key))[:12]}-{_sha256({name: key.get(name) for name in SDK})[:6]}"


def without_sdk(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key without the versions of the SDK."""
    return {name: value for name, value in key.items() if name not in SDK}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two keys or environments do not share, by name, as both have it; None where one lacks it."""
    return {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])
            if one.get(name) != other.get(name)}


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
