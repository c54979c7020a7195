"""Faults that are put into the source on purpose, to see whether the tests find them. Run by hand."""
