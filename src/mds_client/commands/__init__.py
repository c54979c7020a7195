"""The commands of `mds`, a module for each subject, and what they share.

`mds_client.cli` puts them together. `mds_client.console` prints.
"""
