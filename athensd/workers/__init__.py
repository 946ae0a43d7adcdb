"""Several processes that serve as one: a parent, and the workers that it supervises."""
