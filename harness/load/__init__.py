"""Load on a detector: the load generator, the estimates of its runs, the sweep, MLPerf's scenarios."""
