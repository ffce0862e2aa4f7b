"""Datasets, COCO's average precision, and checks that a detector's responses are genuine."""
