"""What a release must reach, under which load, and whether it did: targets, loads, prices, verdicts."""
