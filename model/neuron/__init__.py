"""AWS Inferentia (Inf1): its compiler, the placement of compiled operators, its partitioner and its machines."""
