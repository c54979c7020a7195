"""Files and live feeds on their way into the store: what is read, written, counted and rejected.

How a file is read is in `mds_client.files`. Rows of the store go into files by `mds_client.export`.
"""
