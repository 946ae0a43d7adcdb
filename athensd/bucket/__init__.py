"""Stores of named objects, each with conditional writes of its own: one service a file."""
