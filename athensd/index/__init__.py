"""The versions in the order in which they became complete (Go's index protocol): one provider of ``IIndex`` a file."""
