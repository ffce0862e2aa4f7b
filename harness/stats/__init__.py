"""Percentiles, intervals and trends, each with the bounds that it promises."""
