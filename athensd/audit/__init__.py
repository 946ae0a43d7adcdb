"""Who has had which file of which version: recorded for each answer, and asked for when it matters."""
