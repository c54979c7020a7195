"""The decisions of a batch processor: what is due, how large a row is, and where invalid rows go.

`mds_client.batch` waits and writes.
"""
