"""Tries command lines without what they would do: pytest collects, other programs read their arguments.

For a process of its own, which loads TensorFlow once for all of them.
"""
from __future__ import annotations

import argparse
import gc
import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Callable
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parent.parent


def collect(arguments: list[str]) -> tuple[int, str]:
    """Collects tests with these arguments of pytest → exit code, what it prints."""
    gc.freeze()  # at its end pytest has everything looked through, TensorFlow too, which stays
    alone = ["-n", "0"] if "-n" in arguments else []  # workers would each load what this process has loaded
    given = [argument for argument in arguments if argument != "-q"]  # twice, it leaves out the number of tests
    return _tried(lambda: pytest.main(["-q", "-p", "no:cacheprovider", "--collect-only", *given, *alone]))


def parse(module: str, arguments: list[str]) -> tuple[int, str]:
    """Lets `python -m module` read its arguments and goes no further → exit code, what it prints."""
    real = argparse.ArgumentParser.parse_args

    def read(parser, *given):
        real(parser, *given)
        raise SystemExit(0)

    def run():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return f"{module} reads no arguments"

    with patch.object(argparse.ArgumentParser, "parse_args", read), patch.object(sys, "argv", ["", *arguments]):
        return _tried(run)


def _tried(run: Callable) -> tuple[int, str]:
    os.chdir(ROOT)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            code = run()
        except SystemExit as ended:
            code = ended.code
        except ImportError as error:
            code = str(error)
    if isinstance(code, str):
        printed.write(code)
    return code if isinstance(code, int) else int(bool(code)), printed.getvalue()
