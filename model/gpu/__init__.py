"""A detector on an NVIDIA GPU: what shows that its network ran there, and what the GPU can do."""

PRODUCT_FORMATS = ("fp32", "tf32", "fp16")  # numeric formats of matrix products
