"""The commands of `mds`, one module for each subject, and code that they share.

`mds_client.cli` combines them. `mds_client.console` prints.
"""
