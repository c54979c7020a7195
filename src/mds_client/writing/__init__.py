"""Writes as operations: upserts in every mode, and deletes.

Nothing here waits. `mds_client.columns` checks the rows before they are here.
"""
