"""What a batch processor decides: what is due, how large it is, and where invalid rows go.

`mds_client.batch` waits and writes.
"""
