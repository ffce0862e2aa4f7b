"""A soak: load for hours in windows, its journal, its result and the estimates from it."""
