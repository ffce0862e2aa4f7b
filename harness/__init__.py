"""Measures any object detector: data set, load, evaluation, verdict. Knows no framework, no test runner."""
