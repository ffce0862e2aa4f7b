"""Files that the user brings: cfg, weights and checkpoints, read into architecture and numbers."""
