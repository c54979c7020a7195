"""Single values: times, timeframes, the types of model fields, and models built from database rows.

The fields of each kind are in `mds_client.models`.
"""
