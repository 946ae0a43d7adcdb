"""The checksum databases: asked for clients, and for ourselves, and believed as far as they prove what they say."""
