"""The cost of a million images, from measured throughput and a table of dated prices with their sources."""
from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

from harness.stats.estimate import Estimate
from harness.verdict.targets import Target

PURCHASES = ON_DEMAND, RESERVED = "on-demand", "reserved"
REGION = "us-east-1"
FRESH_DAYS = 365


class UnknownPrice(LookupError):
    """The table lacks a price; the message says which it has and what to do."""


@dataclass(frozen=True)
class Price:
    """Dollars an hour for one instance type, published by `source` on `date` (ISO)."""

    instance: str
    region: str
    purchase: str
    dollars_per_hour: float
    date: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What no two rows of a table share."""
        return self.instance, self.region, self.purchase, self.date


# AWS printed $2.163 for the GPU. Its 486,000 images in two hours, 67.5 a second, at $0.526 an hour are $2.165: $2.163
# would take 67.55 images/s.
LAUNCH = "AWS's YOLOv4 run on Inferentia, the prices behind its $1.362 and $2.165 (printed: $2.163) per million images"
LIST = "AWS price list as generated in aws/karpenter-provider-aws, zz_generated.pricing_aws.go"
NEURON = "AWS Neuron SDK, benchmarks/inf1/instance_prices.csv, the basis of its cost columns"

PRICES = (
    Price("inf1.2xlarge", REGION, ON_DEMAND, 0.583, "2020-10-07", LAUNCH),
    Price("g4dn.xlarge", REGION, ON_DEMAND, 0.526, "2020-10-07", LAUNCH),
    Price("inf1.xlarge", REGION, ON_DEMAND, 0.228, "2026-01-19", LIST),
    Price("inf1.2xlarge", REGION, ON_DEMAND, 0.362, "2026-01-19", LIST),
    Price("inf1.6xlarge", REGION, ON_DEMAND, 1.180, "2026-01-19", LIST),
    Price("inf1.24xlarge", REGION, ON_DEMAND, 4.721, "2026-01-19", LIST),
    Price("g4dn.xlarge", REGION, ON_DEMAND, 0.526, "2026-01-19", LIST),
    Price("p3.2xlarge", REGION, ON_DEMAND, 3.06, "2026-01-19", LIST),
    Price("c5.xlarge", REGION, ON_DEMAND, 0.17, "2026-01-19", LIST),
    Price("inf1.xlarge", REGION, RESERVED, 0.110, "2024-09-16", NEURON),
    Price("inf1.2xlarge", REGION, RESERVED, 0.174, "2024-09-16", NEURON),
    Price("inf1.6xlarge", REGION, RESERVED, 0.567, "2024-09-16", NEURON),
    Price("inf1.24xlarge", REGION, RESERVED, 2.269, "2024-09-16", NEURON),
)


def cost_estimate(speed: Estimate, price: Price) -> Estimate:
    """Dollars per million images at a throughput (images a second); the fastest is the cheapest: bounds change places.

    Without a value above 0 a throughput has no cost.
    """

    def dollars(images_per_second: float | None) -> float | None:
        return dollars_per_million(images_per_second, price.dollars_per_hour) if (images_per_second or 0) > 0 else None

    value = dollars(speed.value)
    return Estimate(
        value, low=dollars(speed.high), high=dollars(speed.low), reason=speed.reason,
        more=lambda bound, sense: speed.more(speed.value * value / bound, ">="),
    )


def cost_evidence(images_per_second: float, price: Price, on: str) -> str:
    """The cost of a million images and its price in words, on the ISO date `on` of the measurement.

    They say so where the price is more than a year older. Raises ValueError for a throughput that is not above 0 or an
    `on` that is not a date.
    """
    dollars = dollars_per_million(images_per_second, price.dollars_per_hour)
    text = (f"${dollars:.3f} per million images: {images_per_second:.1f} images/s on {price.instance} at "
            f"${price.dollars_per_hour:g}/h ({price.purchase}, {price.region}, {price.date}, {price.source})")
    if not is_stale(price, on):
        return text
    return f"{text}; stale: the price is {_age(price, on)} days old, more than {FRESH_DAYS}, look up today's"


def dollars_per_million(images_per_second: float, dollars_per_hour: float) -> float:
    """Dollars that an instance costs while it processes a million images; ValueError unless both are finite and > 0."""
    for name, value in (("images_per_second", images_per_second), ("dollars_per_hour", dollars_per_hour)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value}: must be a finite number above 0, or there is no cost")
    return 1e6 / images_per_second / 3600 * dollars_per_hour


def at_price(target: Target, price: Price) -> Target:
    """The target with the cost of its published throughput at this price as bound, so that no price buys slowness.

    A target without a published throughput stays as it is.
    """
    if target.images_per_second is None:
        return target
    return replace(target, bound=dollars_per_million(target.images_per_second, price.dollars_per_hour))


def is_stale(price: Price, on: str) -> bool:
    """Whether the price is more than a year older than the ISO date `on`."""
    return _age(price, on) > FRESH_DAYS


def find_price(instance: str, on: str, purchase: str = ON_DEMAND, own: Sequence[Price] = ()) -> Price:
    """The newest price not dated after `on` (ISO): a user's own if there is one, else that of PRICES.

    UnknownPrice names the prices that there are.
    """
    day = _date(on)
    rows = [row for row in (*own, *PRICES) if (row.instance, row.purchase) == (instance, purchase)]
    known = [row for row in rows if _date(row.date) <= day]
    if not known:
        dated = f" from {on} or before" if rows else ""
        raise UnknownPrice(f"no {purchase} price of {instance}{dated} in the price table, which has "
                           f"{'; '.join(_known_of(instance, own))}; add a row with its date and source (--prices FILE)")
    return max(known, key=lambda row: (row in own, row.date))


def prices_of_one_date(instances: Collection[str], on: str) -> dict[str, Price]:
    """The on-demand price of each instance type, all of the newest date from `on` (ISO) or before that has them all.

    Prices of different dates say nothing of which instance is cheaper. Raises UnknownPrice where no date has them all.
    """
    day = _date(on)
    rows = [row for row in PRICES if (row.purchase, row.region) == (ON_DEMAND, REGION) and _date(row.date) <= day]
    for newest in sorted({row.date for row in rows}, reverse=True):
        found = {row.instance: row for row in rows if row.date == newest and row.instance in instances}
        if len(found) == len(set(instances)):
            return found
    names = " and ".join(sorted(set(instances)))
    raise UnknownPrice(f"no date from {on} or before has an {ON_DEMAND} price of {names} in PRICES of "
                       "harness/verdict/cost.py; add the rows that are missing")


def _known_of(instance: str, own: Sequence[Price]) -> list[str]:
    prices = (*own, *PRICES)
    rows = [f"{row.purchase} in {row.region} of {row.date}" for row in prices if row.instance == instance]
    return rows or sorted({row.instance for row in prices})


def _age(price: Price, on: str) -> int:
    """Days from the price's date to the ISO date `on`."""
    return (_date(on) - _date(price.date)).days


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{text!r}: must be a date such as 2026-01-19") from error
