"""Dollars per million images: the published figures, and prices that are old or unknown say so."""
from __future__ import annotations

import math
from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict import cost as module
from harness.verdict.cost import (
    ON_DEMAND,
    PRICES,
    PURCHASES,
    REGION,
    RESERVED,
    Price,
    UnknownPrice,
    at_price,
    cost_evidence,
    dollars_per_million,
    find_price,
    prices_of_one_date,
)
from harness.verdict.targets import TARGETS

LAUNCH_DAY = "2020-10-07"


def cost(images_per_second, instance, on, purchase=ON_DEMAND) -> float:
    """Dollars per million images at the price of the table."""
    return dollars_per_million(images_per_second, find_price(instance, on, purchase).dollars_per_hour)


def evidence(images_per_second, on) -> str:
    return cost_evidence(images_per_second, find_price("inf1.2xlarge", on), on)


# AWS printed 2.163 for the second, which its own 67.5 images/s do not give.
@pytest.mark.parametrize(
    ("images_per_second", "instance", "dollars"),
    [(118.9, "inf1.2xlarge", 1.362), (67.5, "g4dn.xlarge", 2.165), (486_000 / 7200, "g4dn.xlarge", 2.165)],
)
def test_the_published_runs_cost_what_their_throughput_and_price_give(images_per_second, instance, dollars):
    assert round(cost(images_per_second, instance, LAUNCH_DAY), 3) == dollars


PUBLISHED = [row for row in TARGETS if row.check == "cost" and row.images_per_second]
[REHEARSED] = [row for row in TARGETS if row.check == "cost" and not row.images_per_second]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.platform}-{row.backend}")
def test_the_published_bound_is_what_its_throughput_costs_at_the_price_of_its_date(row):
    assert round(at_price(row, find_price(row.platform, row.date)).bound, 3) == row.bound


@pytest.mark.parametrize(("on", "purchase"), [(LAUNCH_DAY, ON_DEMAND), ("2026-02-01", ON_DEMAND),
                                              ("2026-02-01", RESERVED)])
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.platform}-{row.backend}")
@given(images_per_second=st.floats(1, 1000))
def test_at_every_price_the_same_throughput_meets_the_bound(row, on, purchase, images_per_second):
    price = find_price("inf1.2xlarge", on, purchase)
    is_met = dollars_per_million(images_per_second, price.dollars_per_hour) <= at_price(row, price).bound
    assert is_met is (images_per_second >= row.images_per_second)


def test_a_bound_of_no_published_throughput_stays_at_every_price():
    assert at_price(REHEARSED, find_price("c5.xlarge", "2026-02-01")) == REHEARSED


def test_the_published_saving_is_reproduced():
    ours, theirs = cost(118.9, "inf1.2xlarge", LAUNCH_DAY), cost(67.5, "g4dn.xlarge", LAUNCH_DAY)
    assert 1 - ours / theirs == pytest.approx(0.37, abs=0.005)


def test_the_newest_price_known_on_the_day_is_taken():
    assert [find_price("inf1.2xlarge", day).dollars_per_hour for day in ("2026-01-18", "2026-01-19", "2030-01-01")] == [
        0.583, 0.362, 0.362,
    ]


def test_the_purchase_option_decides():
    assert cost(180.3, "inf1.2xlarge", "2024-10-01", RESERVED) == pytest.approx(0.268, abs=5e-4)
    assert cost(180.3, "inf1.2xlarge", "2026-02-01", ON_DEMAND) == pytest.approx(0.558, abs=5e-4)


@pytest.mark.parametrize(("on", "stale"), [("2026-01-19", False), ("2027-01-19", False), ("2027-01-20", True)])
def test_a_price_older_than_a_year_is_said_to_be_stale(on, stale):
    assert ("stale: the price is 366 days old, more than 365, look up today's" in evidence(100, on)) is stale


def test_a_price_of_the_users_own_is_taken_as_it_is():
    own = Price("inf1.2xlarge", "any region", "as given by --price", 0.1, "2026-02-01", "the user")
    assert "$0.278 per million images: 100.0 images/s on inf1.2xlarge at $0.1/h (as given by --price, any region" in (
        cost_evidence(100, own, "2026-02-01"))


@pytest.mark.parametrize("purchase", PURCHASES)
def test_every_inferentia_instance_has_a_price_of_every_purchase(purchase):
    sizes = ("xlarge", "2xlarge", "6xlarge", "24xlarge")
    assert all(find_price(f"inf1.{size}", "2026-02-01", purchase).purchase == purchase for size in sizes)


def test_every_row_is_of_a_known_purchase_and_the_one_region():
    assert ({row.purchase for row in PRICES}, {row.region for row in PRICES}) == (set(PURCHASES), {REGION})


def test_the_evidence_names_throughput_price_and_source():
    for part in ("$1.362", "118.9 images/s", "inf1.2xlarge", "$0.583/h", "on-demand", "us-east-1", LAUNCH_DAY, "AWS's"):
        assert part in evidence(118.9, LAUNCH_DAY)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inf9.huge", "2026-02-01"), r"no on-demand price of inf9.huge in the price table, .*inf1.*; add .*--prices"),
        (("inf1.2xlarge", "2026-02-01", "spot"), "no spot price of inf1.2xlarge .*on-demand in us-east-1 of 2020"),
        (("inf1.2xlarge", "2019-12-31"), "from 2019-12-31 or before"),
    ],
)
def test_an_unknown_price_names_the_table_and_what_it_has(arguments, words):
    with pytest.raises(UnknownPrice, match=words):
        find_price(*arguments)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_no_throughput_has_no_cost(value):
    with pytest.raises(ValueError, match=r"images_per_second .*: must be a finite number above 0"):
        cost(value, "inf1.2xlarge", LAUNCH_DAY)
    with pytest.raises(ValueError, match=r"dollars_per_hour .*: must be a finite number above 0"):
        dollars_per_million(1, value)


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", None])
def test_what_is_not_a_date_is_an_error(day):
    with pytest.raises(ValueError, match="must be a date such as 2026-01-19"):
        evidence(1, day)


@given(rate=st.floats(1e-3, 1e6), price=st.floats(1e-3, 1e3), factor=st.floats(1.01, 100))
def test_faster_is_cheaper_in_proportion(rate, price, factor):
    assert dollars_per_million(rate * factor, price) == pytest.approx(dollars_per_million(rate, price) / factor)


def test_every_row_is_dated_sourced_and_unique():
    assert all(date.fromisoformat(row.date) and row.source and row.dollars_per_hour > 0 for row in PRICES)
    assert max(Counter((r.instance, r.region, r.purchase, r.date) for r in module.PRICES).values()) == 1


def test_instances_are_compared_at_prices_of_one_date():
    both = {"inf1.2xlarge", "g4dn.xlarge"}
    found = {day: prices_of_one_date(both, day) for day in (LAUNCH_DAY, "2026-11-25")}
    assert {name: one.dollars_per_hour for name, one in found[LAUNCH_DAY].items()} == {
        "inf1.2xlarge": 0.583, "g4dn.xlarge": 0.526}
    assert {one.date for one in found["2026-11-25"].values()} == {"2026-01-19"}


@pytest.mark.parametrize(("instances", "day"), [
    ({"inf1.2xlarge", "p3.2xlarge"}, LAUNCH_DAY), ({"inf1.2xlarge", "c9.huge"}, "2026-11-25"),
    ({"inf1.2xlarge", "g4dn.xlarge"}, "2020-10-06"),
])
def test_prices_that_no_date_has_together_are_unknown(instances, day):
    with pytest.raises(UnknownPrice, match=f"no date from {day} or before has an on-demand price of .* and .*; add"):
        prices_of_one_date(instances, day)
