"""The detector in a process of another Python. What runs there (server, protocol) parses on Python 3.7."""
