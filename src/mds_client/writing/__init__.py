"""Writes as operations: upserts in every mode, and deletes.

Nothing here does I/O. `mds_client.columns` has checked the rows before.
"""
