"""A store that holds so much and no more: which zips go, and which stay."""
