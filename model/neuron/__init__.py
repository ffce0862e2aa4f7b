"""What is particular to AWS Inferentia (Inf1): the machine that it needs, and what its compiler makes of a graph."""
