"""Targets that a release must reach, the loads and prices behind them, and the verdicts."""
