"""Detectors to start from: each file is whole for one way of serving. docs/examples.md has a command for each."""
