"""A user's own bounds and prices: read as they were written, or refused in one sentence that says what to do."""
from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.text import is_plain
from harness.verdict import own
from harness.verdict.cost import PURCHASES, Price, find_price
from harness.verdict.metrics import MEASURED, METRICS
from harness.verdict.own import OwnError, read_prices, read_table
from harness.verdict.targets import Target, fault, published_beside

TARGET = {"check": "throughput", "metric": "images_per_second", "bound": 60.0, "sense": ">=", "platform": "inf2.xlarge",
          "source": "what the cameras send", "date": "2026-11-26"}
AP = {**TARGET, "check": "accuracy", "metric": "AP", "bound": 0.4}
COST = {**TARGET, "check": "cost", "metric": "dollars_per_million", "bound": 1.5, "sense": "<="}
PRICE = {"instance": "inf2.xlarge", "region": "eu-west-1", "purchase": "on-demand", "dollars_per_hour": 0.9,
         "date": "2026-11-20", "source": "the bill"}


def toml(name: str, *rows: dict) -> str:
    """A file of rows; a string of JSON is one of TOML, and so is a number, but for those that JSON has no word for."""
    return "\n".join(f"[[{name}]]\n" + "\n".join(
        f"{key} = {_value(value)}" for key, value in row.items()) for row in rows)


def _value(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text.lower().replace("infinity", "inf") if isinstance(value, float) else text


@pytest.fixture
def read(tmp_path):
    """A function: text or bytes of a file of targets → its table."""
    return lambda content, reader=read_table: reader(written(tmp_path / "mine.toml", content))


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_rows_are_read_as_they_were_written(read):
    table = read(toml("target", TARGET, {**AP, "reason": "a smaller detector", "backend": "cpu", "build": "own"}))
    assert table.own == (Target(**TARGET), Target(**AP, reason="a smaller detector", backend="cpu", build="own"))
    assert table.source == "mine.toml" and re.fullmatch("[0-9a-f]{64}", table.sha256)


@pytest.mark.parametrize("text", ["2026-11-26", '"2026-11-26"'])
def test_a_date_is_one_of_toml_or_a_text(read, text):
    content = toml("target", TARGET).replace('"2026-11-26"', text)
    assert read(content).own[0].date == "2026-11-26"


def changed(base=TARGET, **fields) -> str:
    """A file with one row, changed; a field that is None is left out."""
    return toml("target", {key: value for key, value in {**base, **fields}.items() if value is not None})


# A file → what is wrong with it and what to do, whole.
WRONG = {
    "empty": ("", "has no row; each starts with [[target]]"),
    "a table in place of rows": ("[target]\nbound = 1", "has no row; each starts with [[target]]"),
    "another list": (changed() + "\n[[targets]]\n", "key targets is unknown; rows start with [[target]]"),
    "prices": (toml("price", PRICE), "key price is unknown; rows start with [[target]]"),
    "not TOML": ("[[target]", "is not TOML ("),
    "a key twice": (changed() + "\nbound = 2", "is not TOML ("),
    "binary": (b"\x00\xff\xfe\x89PNG", "is not TOML ("),
    "deep": ("a = " + 100_000 * "[", "is not TOML ("),
    "unknown key": (changed(bounds=1), "row 1 (throughput images_per_second): key bounds is unknown, must be one of "
                                       "check, metric, bound, sense, platform, source, date, images_per_second, build, "
                                       "backend, reason"),
    "missing key": (changed(source=None), "row 1 (throughput images_per_second): source is missing; add it"),
    "missing check": (changed(check=None), "row 1 (images_per_second): check is missing; add it"),
    "no key at all": ("[[target]]", "row 1: check is missing; add it"),
    "unknown check": (changed(check="speed"), "row 1 (speed images_per_second): check is speed, must be one of "
                      "accuracy, parity, placement, throughput, latency, integrity, jitter, soak, cost, mlperf, h"),
    "the gate's own rule": (changed(check="release", metric="exceptions"), "row 1 (release exceptions): check is "),
    "a metric of another check": (changed(metric="AP"), "row 1 (throughput AP): metric is AP, must be one of "
                                                        "images_per_second, efficiency"),
    "a text for a number": (changed(bound="60"), ": bound is '60', must be a number without quotes"),
    "true for a number": (changed(bound=True), ": bound is True, must be a number without quotes"),
    "a number for a text": (changed(source=3), ": source is 3, must be a text of at most 1,000 printable characters"),
    "an empty text": (changed(source=" "), ": source is ' ', must be a text"),
    "a text with a command of GitHub's": (changed(source="##[error]x"), ": source is '"),
    "a text with a line of its own": (changed(source="a\nb"), r": source is 'a\nb', must be a text"),
    "a text that turns around": (changed(reason="a\u202eb"), ": reason is '"),
    "a long text": (changed(source=1001 * "x"), ": source is 'xxx"),
    "a platform that is not a name": (changed(platform="inf2 xlarge"), ": platform is 'inf2 xlarge', must be a name"),
    "a number that is too large": (changed().replace("60.0", "1" + 400 * "0"), ": bound is too large, must be"),
    "nan": (changed(bound=float("nan")), ": bound is nan, must be a finite number"),
    "inf": (changed(bound=float("inf")), ": bound is inf, must be a finite number"),
    "-inf": (changed(bound=float("-inf")), ": bound is -inf, must be a finite number"),
    "a sense that turns it around": (changed(sense="<="), ": sense is <=, must be '>=' for images_per_second"),
    "no sense": (changed(sense="=="), ": sense is ==, must be '>=' for images_per_second"),
    "at least nothing": (changed(bound=0), ": nothing can miss >= 0: its values are from 0 to inf; give a"),
    "below nothing": (changed(bound=-5), ": nothing can miss >= -5"),
    "an AP in percent": (changed(AP, bound=48), ": nothing can meet >= 48: its values are from 0 to 1; give a bound"),
    "a share that is a whole": (changed(check="soak", metric="drift", sense="<=", bound=1), ": nothing can miss <= 1"),
    "an AP drop of everything": (changed(check="parity", metric="AP_drop", sense="<=", bound=1), ": nothing can miss"),
    "a day for a request": (changed(check="latency", metric="P99_seconds", sense="<=", bound=86_400), ": nothing can"),
    "fewer than none": (changed(check="soak", metric="failed_requests", sense="<=", bound=-1), ": nothing can meet"),
    "a verdict that is always met": (changed(check="mlperf", metric="valid", bound=0), ": nothing can miss >= 0"),
    "looser": (changed(AP), ": it is looser than the published accuracy AP ≥ 0.48: add a reason, or take the published "
                            "bound"),
    "looser cost": (changed(COST, platform="inf1.2xlarge", bound=0.1), ": it is looser than the published cost "
                    "dollars_per_million ≤ 1.362, of which one follows the price by its images_per_second and the "
                    "other does not: add a reason, or take the published bound"),
    "images a second of a latency": (changed(images_per_second=3), ": images_per_second is for rows of cost alone"),
    "no images a second": (changed(COST, images_per_second=0), ": images_per_second is 0, must be a finite"),
    "nan images a second": (changed(COST, images_per_second=float("nan")), ": images_per_second is nan, must be"),
    "twice": (toml("target", TARGET, AP | {"bound": 0.5}, {**TARGET, "bound": 70.0}), "row 3 (throughput "
              "images_per_second inf2.xlarge any) is there already as row 1; keep one"),
    **{f"date {day}": (changed(date=day), f": date is '{day}', must be a date such as 2026-01-19")
       for day in ("yesterday", "2026-13-01", "20260119", "2026-W04-1", "2026-01-19T00:00")},
    "a time": (changed().replace('"2026-11-26"', "2026-11-26T10:00:00"), ": date is datetime.datetime(2026"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(read, case):
    content, words = WRONG[case]
    with pytest.raises(OwnError) as error:
        read(content)
    message = str(error.value)
    assert words in message and "\n" not in message and len(message) < 600 and is_plain(message)


@pytest.mark.parametrize("make", [
    lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path),
    lambda path: path.write_bytes(bytes(own.LARGEST + 1)), lambda path: None,
], ids=["folder", "pipe", "device", "link to itself", "huge", "nothing"])
def test_what_is_not_a_file_of_a_sensible_size_is_refused_at_once(tmp_path, make):
    make(tmp_path / "mine.toml")
    with pytest.raises(OwnError, match=r"is not a file|cannot be read|at most 1,048,576 are|there is no such"):
        read_table(tmp_path / "mine.toml")


NAMES = st.from_regex(own.NAME, fullmatch=True)
TEXTS = st.text(min_size=1, max_size=50).filter(lambda text: is_plain(text) and text.strip())
BOUNDS = st.floats(-10, 1000) | st.integers(-5, 5) | st.sampled_from([0.4, float("nan"), float("inf")])
ROWS = st.sampled_from([(check, metric) for check, metrics in MEASURED.items() for metric in metrics]).flatmap(
    lambda key: st.fixed_dictionaries({
        "check": st.just(key[0]), "metric": st.just(key[1]), "bound": BOUNDS, "sense": st.sampled_from([">=", "<="]),
        "platform": NAMES | st.sampled_from(["cpu", "any", "inf1.2xlarge", "inf1", "g4dn.xlarge"]), "source": TEXTS,
        "date": st.dates(date(1900, 1, 1)).map(date.isoformat),
    }, optional={"reason": TEXTS, "backend": NAMES, "build": TEXTS}))


@given(row=ROWS)
@settings(max_examples=100)
def test_a_row_is_read_back_or_refused_for_what_it_would_hide(tmp_path_factory, row):
    path = tmp_path_factory.getbasetemp() / "property.toml"
    path.write_text(toml("target", row), encoding="utf-8")
    target = Target(**row)
    is_sound = not fault(target) and (target.reason or not published_beside(target))
    try:
        assert read_table(path).own == (target,) and is_sound
    except OwnError:
        assert not is_sound


@given(row=ROWS)
def test_some_value_misses_every_sound_row_and_some_value_meets_it(row):
    target = Target(**row)
    if fault(target):
        return
    metric = METRICS[target.metric]
    least, most = max(metric.least, -1e9), min(metric.most, 1e9)
    met = [value >= target.bound if target.sense == ">=" else value <= target.bound for value in (least, most)]
    assert sorted(met) == [False, True]


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_the_error_is_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "anything.toml"
    path.write_bytes(content)
    for reader in (read_table, read_prices):
        with pytest.raises(OwnError) as error:
            reader(path)
        assert is_plain(str(error.value))


# ---- prices


def test_prices_are_read_as_they_were_written(read):
    assert read(toml("price", PRICE), read_prices) == (Price(**PRICE),)


def prices(*rows, **fields) -> str:
    return toml("price", *[{**PRICE, **row, **fields} for row in rows or [{}]])


TOMORROW, NEXT_WEEK = ((date.today() + timedelta(days=days)).isoformat() for days in (1, 7))
WRONG_PRICES = {
    "targets": (toml("target", TARGET), "key target is unknown; rows start with [[price]]"),
    "unknown purchase": (prices(purchase="spot"), "row 1 (inf2.xlarge eu-west-1): purchase is spot, must be on-demand "
                                                  "or reserved"),
    "free": (prices(dollars_per_hour=0), ": dollars_per_hour is 0, must be a finite number above 0"),
    "nan": (prices(dollars_per_hour=float("nan")), ": dollars_per_hour is nan, must be a finite number above 0"),
    "dear": (prices(dollars_per_hour=float("inf")), ": dollars_per_hour is inf, must be a finite number above 0"),
    "missing": ('[[price]]\ninstance = "x"', "row 1 (x): region is missing; add it"),
    "to come": (prices(date=NEXT_WEEK), f": date is {NEXT_WEEK}, which is to come: give the day on which you looked"),
    "older than the table's": (prices(instance="inf1.2xlarge", region="us-east-1", date="2026-01-19"),
                               ": it is not newer than the built-in price of 2026-01-19: look up today's, or leave it"),
    "of two regions": (prices({}, {"region": "us-west-2"}), "on-demand prices of inf2.xlarge are of several regions: "
                                                            "keep the one you pay in"),
    "twice": (prices({}, {"dollars_per_hour": 1.0}), "row 2 (inf2.xlarge eu-west-1 on-demand 2026-11-20) is there "
                                                     "already as row 1; keep one"),
}


@pytest.mark.parametrize("case", WRONG_PRICES)
def test_what_is_wrong_with_a_price_is_one_sentence(read, case):
    content, words = WRONG_PRICES[case]
    with pytest.raises(OwnError, match=re.escape(words)):
        read(content, read_prices)


def test_a_day_that_has_begun_elsewhere_is_not_to_come(read):
    assert read(prices(date=TOMORROW), read_prices)


OWN = Price(**PRICE)


def test_an_own_price_goes_before_the_tables_whatever_its_region():
    mine = replace(OWN, instance="inf1.2xlarge")
    assert find_price("inf1.2xlarge", "2026-11-26", own=(mine,)) == mine
    assert find_price("inf1.2xlarge", "2026-11-19", own=(mine,)).dollars_per_hour == 0.362  # not yet
    assert find_price("inf1.2xlarge", "2024-10-01", PURCHASES[1], (mine,)).dollars_per_hour == 0.174
    assert find_price("inf2.xlarge", "2026-11-26", own=(OWN, replace(OWN, date="2026-11-21"))).date == "2026-11-21"
