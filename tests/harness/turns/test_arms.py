"""The arms of a comparison are read as they would be typed."""
from __future__ import annotations

import pytest

from harness.turns.arms import Arm, UsageError, read_arms


def test_options_belong_to_their_arm(tmp_path):
    a, b = read_arms(["A=v1 --cast fp32", "B=X=1 Y='a b' HEAD --cast bf16"], "--limit 4", tmp_path)
    assert a == Arm("A", "v1", ("--limit", "4", "--cast", "fp32"))
    assert b == Arm("B", "HEAD", ("--limit", "4", "--cast", "bf16"), (("X", "1"), ("Y", "a b")))


def test_the_order_of_the_arguments_does_not_matter(tmp_path):
    assert [arm.revision for arm in read_arms(["B=new", "A=old"], "", tmp_path)] == ["old", "new"]


def test_files_are_found_from_another_folder(tmp_path):
    (tmp_path / "mine.cfg").write_text("")
    arm, _ = read_arms(["A=. --cfg mine.cfg --names=mine.cfg --weights none.pth", "B=."], "", tmp_path)
    assert arm.options == ("--cfg", str(tmp_path / "mine.cfg"), f"--names={tmp_path / 'mine.cfg'}", "--weights",
                           "none.pth")
    assert arm.revision == "."


@pytest.mark.parametrize(("texts", "words"), [
    ([], "give each once, as A=REV B=REV"),
    (["A=x"], "give each once"),
    (["A=x", "A=y"], "give each once"),
    (["A=x", "B=y", "B=z"], "give each once"),
    (["A=x", "C=y"], "C=y: must be A=REV or B=REV"),
    (["A=x", "main"], "main: must be A=REV or B=REV"),
    (["A=x", "B="], "B=: has no revision"),
    (["A=x", "B=FOO=1"], "B=FOO=1: has no revision"),
    (["A=x", "B=--cast bf16"], "has no revision"),
    (["A=x", "B='y"], "close its quotes"),
])
def test_what_cannot_be_read_is_named(texts, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        read_arms(texts, "", tmp_path)
