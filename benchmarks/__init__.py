"""What is measured beside rivals, as a ratio in one run; never a test, as the times are the machine's."""
