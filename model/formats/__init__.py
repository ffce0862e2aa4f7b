"""A user's files: cfg, weights and checkpoints, read as architecture and numbers."""
