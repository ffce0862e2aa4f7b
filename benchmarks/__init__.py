"""Measurements beside rivals, as ratios in one run. They are not tests, because times depend on the machine."""
