"""An arm: one of the two sides of a comparison, a revision with options of the gate and variables of its own.

It is written as on a command line: `A="FOO=1 v1.2 --cast bf16"`.
"""
from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.text import shown

NAMES = ("A", "B")
VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
SNAPSHOT = "."  # the revision of the working tree as it is


class UsageError(ValueError):
    """The command line cannot be used; the message names the argument, what is wrong and what to do."""


class Arm(NamedTuple):
    """`name` is A or B; `revision` as git reads it, or '.'; `options` are the gate's; `variables` the environment's."""

    name: str
    revision: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def read_arms(texts: Sequence[str], both: str, folder: Path) -> tuple[Arm, Arm]:
    """The arms of `A=…` and `B=…`; options of `both` come before their own. Files are found from `folder`.

    Raises UsageError.
    """
    given = dict(_named(text) for text in texts)
    if len(texts) != 2 or set(given) != set(NAMES):
        raise UsageError("two commits are compared: give each once, as A=REV B=REV, where . is the working tree")
    common = _split("--both", both)
    a, b = (_arm(name, given[name], common, folder) for name in NAMES)
    return a, b


def _named(text: str) -> tuple[str, str]:
    name, is_there, value = text.partition("=")
    if not is_there or name not in NAMES:
        raise UsageError(f"{shown(text)}: must be A=REV or B=REV, where REV is a commit, branch or tag, or . for the "
                         "working tree")
    return name, value


def _arm(name: str, text: str, common: list[str], folder: Path) -> Arm:
    words = _split(f"{name}=", text)
    variables = []
    while words and (found := VARIABLE.fullmatch(words[0])):
        variables.append(found.groups())
        words = words[1:]
    if not words or words[0].startswith("-"):
        raise UsageError(f"{name}={shown(text)}: has no revision; give a commit, branch or tag, or . for the working "
                         "tree, before its options")
    options = tuple(_from_anywhere(word, folder) for word in (*common, *words[1:]))
    return Arm(name, words[0], options, tuple(variables))


def _split(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{name}{shown(text)}: cannot be read ({error}); close its quotes") from error


def _from_anywhere(word: str, folder: Path) -> str:
    """An option, or a value; the path of a file in `folder` becomes absolute, because an arm runs in another folder."""
    option, is_joined, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = folder / value
    if not value or value.startswith("-") or not path.exists():
        return word
    return f"{option}{is_joined}{path.resolve()}"
