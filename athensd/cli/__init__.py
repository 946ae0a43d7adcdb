"""The console command ``athensd``."""
