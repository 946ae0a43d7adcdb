"""How our own requests leave this host: by which proxy, and which certificates they trust."""
