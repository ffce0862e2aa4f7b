"""The runs of the past: where they are kept, which may be compared, and what became of them."""
