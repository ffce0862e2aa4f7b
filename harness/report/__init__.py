"""One self-contained page of what a run stored: may it be released, why not, what changed, and what shows it."""
