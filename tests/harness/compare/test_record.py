"""Whatever is in a report folder, it is a run or one sentence that says why not."""
from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.compare import record
from harness.compare.record import FILE, RunError, read
from tests.harness.compare.runs import record as made_up
from tests.harness.compare.runs import row, store


def test_a_run_is_read_whole(tmp_path):
    run = read(store(tmp_path / "run", made_up(found=[row("soak", "drift", 0.01, [None, 0.02], why="x")])), "A")
    figure = run.figures["soak", "drift"]
    assert (figure.estimate.low, figure.estimate.value, figure.estimate.high) == (None, 0.01, 0.02)
    assert (run.name, run.platform, run.detector["weights"], run.is_published) == ("A", "cpu", "w", False)


def test_a_measured_value_without_an_interval_is_exact_and_a_published_one_is_not(tmp_path):
    measured = store(tmp_path / "measured", made_up(found=[row("accuracy", "AP", 0.5)]))
    published = store(tmp_path / "published", made_up(
        found=[row("accuracy", "AP", 0.5)], origin={"kind": "published", "date": "2020-10-07", "source": "a page"}))
    assert read(measured, "A").figures["accuracy", "AP"].estimate.is_exact
    assert read(published, "B").figures["accuracy", "AP"].estimate.low is None


def test_of_several_casts_the_first_is_the_run_s(tmp_path):
    found = [row("parity", "AP_drop", 0.1, variant="all"), row("parity", "AP_drop", 0.2, variant="none")]
    assert read(store(tmp_path / "run", made_up(found=found)), "A").figures["parity", "AP_drop"].estimate.value == 0.1


def changed(**fields):
    return lambda content: json.dumps({**content, **fields})


def changed_row(**fields):
    return lambda content: json.dumps({**content, "rows": [{**row("soak", "drift", 1.0), **fields}]})


def without(name):
    return lambda content: json.dumps({key: value for key, value in content.items() if key != name})


# What is in the file, and what the message says of it.
CONTENTS = {
    "cut short": (lambda content: json.dumps(content)[:300], "is not strict JSON"),
    "empty": (lambda content: "", "is not strict JSON"),
    "NaN": (lambda content: json.dumps(content).replace("608", "NaN"), "NaN is not a number of JSON"),
    "infinity": (changed_row(value=1e999), "Infinity is not a number of JSON"),
    "a number beyond a double": (lambda content: json.dumps(content).replace("100.0", "1e999"), "null or a number"),
    "an integer beyond a double": (changed_row(value=10**400), "must be null or a number from"),
    "a nest": (lambda content: "[" * 100_000, "is not strict JSON"),
    "a list": (lambda content: "[]", "is not the record of a gate's run"),
    "a text": (lambda content: '"run"', "is not the record of a gate's run"),
    "another program's": (lambda content: '{"benchmarks": []}', "is not the record of a gate's run"),
    "a newer release's": (changed(version=3), "has version 3 of the run record, and this release reads version 2"),
    "a version that is true": (changed(version=True), "has version True"),
    "an unknown origin": (changed(origin={"kind": "guessed", "date": "", "source": ""}), "kind is guessed, must be"),
    "no origin": (without("origin"), "origin is missing"),
    "no rows": (without("rows"), "rows is missing"),
    "rows of another kind": (changed(rows={}), "rows must be a list"),
    "more rows than a run has": (changed(rows=[{}] * 20_001), "rows must be a list of at most 20,000"),
    "a row of another kind": (changed(rows=[1]), "row 1: is 1, must be an object"),
    "a row without its metric": (changed(rows=[{"check": "soak", "value": 1, "interval": None}]), "metric is missing"),
    "a value in words": (changed_row(value="fast"), "row 1: value is fast, must be null or a number"),
    "a value that is true": (changed_row(value=True), "row 1: value is True"),
    "bounds of one": (changed_row(interval=[1]), "row 1: interval is [1], must be null or two bounds"),
    "bounds beside the value": (changed_row(interval=[2.0, 3.0]), "must contain the value 1"),
    "bounds that change places": (changed_row(interval=[1.5, 0.5]), "must contain the value 1"),
    "a count below 0": (changed_row(count=-1), "row 1: count is -1, must be an integer from 0"),
    "a load that is a list": (changed_row(load=["x"]), "row 1: is ['x'], must be a text"),
    "a figure twice": (changed(rows=[row("soak", "drift", 1.0)] * 2), "row 2: soak drift is there twice"),
    "a detector that is a list": (changed(detector=[]), "detector is [], must be an object"),
    "resamples of one": (changed(resampled_AP=[0.5]), "resampled_AP must have"),
    "resamples beyond 1": (changed(resampled_AP=[0.5, 7]), "resampled_AP must have"),
    "a platform that is a number": (changed(platform=7), "platform is 7, must be a text"),
    "a key with a list": (changed(key={"cast": ["fp32"]}), "key: cast is ['fp32'], must be a text or a number"),
    "an environment that is a text": (changed(environment="x"), "environment is x, must be an object"),
    "no key": (without("key"), "key is missing"),
    "a commit that is a path": (changed(commit={"hash": "../../etc"}),
                                "commit: hash is ../../etc, must be that of a commit"),
    "a commit without a hash": (changed(commit={"clean": True}), "commit: hash is None"),
    "rates that are not numbers": (changed(rates={"soak": [1, None]}),
                                   "rates must have a list of numbers for each check"),
    "rates in words": (changed(rates={"soak": ["fast"]}), "rates is fast, must be null or a number"),
    "reasons that are not texts": (changed(incomplete=[1]), "incomplete is 1, must be a text"),
    "more rates than a month has": (changed(rates={"soak": [1] * 1_000_001}), "at most 1,000,000"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_what_is_not_a_run_is_a_sentence(tmp_path, case):
    content, words = CONTENTS[case]
    folder = store(tmp_path / "run", {})
    (folder / FILE).write_text(content(made_up()))
    with pytest.raises(RunError) as raised:
        read(folder, "A")
    message = str(raised.value)
    assert words in message and message.startswith(f"{folder / FILE}: ") and "\n" not in message
    assert message.endswith("name a folder that --report of this release has written")


def test_bytes_that_are_not_text(tmp_path):
    folder = store(tmp_path / "run", {})
    (folder / FILE).write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunError, match="is not strict JSON"):
        read(folder, "A")


def test_a_control_character_reaches_no_message(tmp_path):
    folder = store(tmp_path / "\x1b[31mred\n::error::", made_up(platform="\x1b[2J", version=3))
    with pytest.raises(RunError) as raised:
        read(folder, "A")
    assert raised.value.args[0].isprintable()


def nothing(folder):
    return folder


def a_file(folder):
    folder.write_text("")


def without_a_record(folder):
    folder.mkdir()


def a_loop(folder):
    folder.symlink_to(folder)


def a_record_that_is(make):
    def plant(folder):
        folder.mkdir()
        make(folder / FILE)
    return plant


# What is there in place of the folder, and what the message says of it.
PLACES = {
    "nothing": (nothing, "is not a folder"),
    "a file": (a_file, "is not a folder"),
    "a link to itself": (a_loop, "is not a folder"),
    "a folder without a record": (without_a_record, "has no run.json"),
    "a folder in place of the record": (a_record_that_is(lambda path: path.mkdir()), "run.json: is not a file"),
    "a pipe in place of the record": (a_record_that_is(os.mkfifo), "run.json: is not a file"),
    "a link to a device": (a_record_that_is(lambda path: path.symlink_to("/dev/zero")), "run.json: is not a file"),
    "a link to itself in it": (a_record_that_is(lambda path: path.symlink_to(path)), "run.json: cannot be read"),
    "a link to nothing": (a_record_that_is(lambda path: path.symlink_to("nowhere")), "has no run.json"),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_is_not_a_report_is_a_sentence_and_nothing_waits(tmp_path, case):
    plant, words = PLACES[case]
    plant(tmp_path / "run")
    with pytest.raises(RunError, match=words):
        read(tmp_path / "run", "A")


def test_a_huge_record_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "LARGEST", 100)
    with pytest.raises(RunError, match="bytes, at most 100 are read"):
        read(store(tmp_path / "run", made_up()), "A")


def test_a_link_to_a_report_is_that_report(tmp_path):
    folder = store(tmp_path / "run-12", made_up())
    (tmp_path / "latest").symlink_to(folder)
    assert read(tmp_path / "latest", "A").platform == "cpu"


texts = st.text(max_size=5)
values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | texts,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*made_up()]), values)
def test_whatever_a_field_is_it_is_read_or_refused(tmp_path, name, value):
    folder = store(tmp_path / "run", {**made_up(), name: value})
    try:
        read(folder, "A")
    except RunError as error:
        assert str(error).isprintable()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*row("soak", "drift", 1.0)]), values)
def test_whatever_a_field_of_a_row_is_it_is_read_or_refused(tmp_path, name, value):
    folder = store(tmp_path / "run", made_up(found=[{**row("soak", "drift", 1.0), name: value}]))
    try:
        read(folder, "A")
    except RunError as error:
        assert str(error).isprintable()
