"""Work on whole stores: checked, mended, copied, filled.  Each of it is done while a daemon uses the same store."""
