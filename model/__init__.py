"""The detector under test: architecture, weights, network, pre- and post-processing, compilation. Knows no pytest."""
