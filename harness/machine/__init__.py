"""The machine beside the detector: what it is, how fast it computes, and what it did meanwhile."""
