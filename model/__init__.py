"""The detector under test: architecture, weights, network, pre- and post-processing, compilation. Knows no pytest."""
import os

# TensorFlow leaves oneDNN, its faster convolutions, off where a processor lacks AVX-512's instructions for networks.
# It reads this when it is imported, so it stands where every way to a detector begins.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
