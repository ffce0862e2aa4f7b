"""Two or more runs beside each other: ratios with intervals, claims, one table and one plot."""
