"""A user's files: cfg, weights and checkpoints, read as architecture and numbers."""

# In place of a weights file: untrained numbers. Here, as the command line must not load NumPy to name its options.
RANDOM = "random"
