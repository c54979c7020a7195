"""Reads as operations: rows, series, latest prices, rollups, scans, and reasons for empty results.

Nothing here does I/O: `mds_client.protocol` runs the operations. The statements are in `mds_client.sql`.
"""
