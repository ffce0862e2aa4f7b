"""Percentiles, means, spreads and trends, each an estimate with bounds."""
