"""Runs over time: what is kept of them, what a new one is judged against, and where a metric has changed for good."""
