"""Where modules come from: an upstream proxy, the go command, or a chain of them."""
