"""Where modules are kept: one datastore a file."""
