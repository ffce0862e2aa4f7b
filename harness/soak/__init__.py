"""Load for hours: the journal, the windows, the machine beside it, and what they show."""
