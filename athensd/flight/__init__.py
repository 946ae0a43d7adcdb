"""One piece of work for any number of askers: in this process, and in all that share a lock service."""
