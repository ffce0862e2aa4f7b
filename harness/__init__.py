"""Measures any object detector: dataset, load, evaluation, verdict. Knows no framework and no test runner."""
