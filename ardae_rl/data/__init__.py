"""Data sets that are files: fetched once, checked whenever they are read."""
