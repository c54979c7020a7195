"""How one value is read and kept: times, timeframes, the types of models' fields, and models built from the database.

Which fields a kind has is in `mds_client.models`.
"""
