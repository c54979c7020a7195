"""Reads as operations: rows, series, latest prices, rollups, scans, and why an answer is empty.

Nothing here waits: `mds_client.protocol` performs an operation. The statements are in `mds_client.sql`.
"""
