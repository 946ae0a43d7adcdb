"""The settings: text and environment to frozen values."""
