"""Load on a detector and what it gives: the load generator, the sweep, MLPerf's scenarios."""
