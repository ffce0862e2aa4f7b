"""Datasets, COCO's average precision and whether the responses of a detector can be believed."""
