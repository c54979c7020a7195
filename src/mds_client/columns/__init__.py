"""Rows as columns: frames, models and NDJSON lines become checked columns, and columns become what COPY takes.

Most modules need NumPy and PyArrow, so this package imports none of them. Nothing here talks to a server.
"""
