"""Two commits measured in turns, for differences that are smaller than what a machine drifts from day to day."""
