"""The machine: its facts, its speed, and its noise while a detector is measured."""
