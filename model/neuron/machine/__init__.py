"""This machine's Inferentia devices, driver, packages and environment, and what is missing."""
