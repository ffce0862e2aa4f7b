"""What this machine has for Inferentia: devices, driver, packages, environment, and what is missing."""
