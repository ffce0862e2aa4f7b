"""The detector in a process of another Python. Server and protocol run there and parse on Python 3.7."""
