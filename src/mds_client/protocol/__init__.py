"""How the clients talk to the server: operations, connections that never wait forever, pools, and what is tried again.

What is asked is in `mds_client.reading` and `mds_client.writing`, the statements are in `mds_client.sql`.
"""
