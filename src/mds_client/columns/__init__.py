"""Rows as columns: frames, models and NDJSON lines are converted to checked columns, and columns to COPY data.

Most modules need NumPy and PyArrow, so this file imports none of them. Nothing here talks to a server.
"""
