"""What the operator says of modules: which may be had, and what happens when one is not stored.  Pure."""
