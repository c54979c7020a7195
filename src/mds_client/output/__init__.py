"""Output formats for rows, as text or files, and files that get their name when they are complete.

`mds_client.export` and the clients select the rows.
"""
