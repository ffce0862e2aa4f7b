"""The target table as a command: printed with a user's own rows, or drawn from the runs of a history."""
