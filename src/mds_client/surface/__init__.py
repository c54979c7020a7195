"""The clients' methods, a module for each subject. The synchronous modules are generated from the asynchronous ones.

`mds_client.amethods` and `mds_client.methods` put them together. What a method does is in its operation.
"""
