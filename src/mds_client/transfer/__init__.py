"""Import of files and live feeds into the store, with counts and rejects.

Files are read in `mds_client.files`. `mds_client.export` writes stored rows into files.
"""
