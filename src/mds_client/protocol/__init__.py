"""Communication with the server: operations, connections that never wait forever, pools and retries.

The operations themselves are in `mds_client.reading` and `mds_client.writing`, their statements in `mds_client.sql`.
"""
