"""What Go says about paths, versions, ``.info`` documents, lists and zips.  Pure: no Twisted, no clock, no file."""
