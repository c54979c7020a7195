"""Rows as text or as a file: the formats, and files that get their name when they are whole.

Which rows are written is said by `mds_client.export` and by the clients.
"""
