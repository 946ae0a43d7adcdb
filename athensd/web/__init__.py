"""HTTP: the download protocol, the pages, and how answers are sent."""
