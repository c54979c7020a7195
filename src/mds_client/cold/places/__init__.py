"""The places of files with rows: folders (`folders`), and object stores (`objects`).

A file is written once, under a unique name, and never changed. It gets its name when it is complete. Other modules
know a place by its URL and use it through `Place`; only this package knows what kind of place it is. Folders need
PyArrow, and object stores obstore; the extra `cold` brings both.
"""

from functools import cache
from urllib.parse import urlsplit

from mds_client.cold.places.base import PART, FileMissing, Found, Place, PlaceUnavailable, polars_options, whole
from mds_client.errors import ConfigurationError

__all__ = ["PART", "FileMissing", "Found", "Place", "PlaceUnavailable", "place", "polars_options", "whole"]


@cache
def place(url: str) -> Place:
    """Return the place of a folder or of a URL `s3://bucket/prefix`. The same text returns the same object.

    Raises:
        ConfigurationError: The URL is not that of a supported place, or has a password, or a package is missing.
    """
    if "://" not in url:
        from mds_client.cold.places.folders import Folder

        return Folder(url)
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # The text is not repeated, because it may have a password.
        raise ConfigurationError(
            "cold rows: the URL of an object store is s3://bucket/prefix and nothing else. Credentials come from the"
            " environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    if parts.scheme != "s3" or not parts.netloc:
        raise ConfigurationError(f"cold rows: {url!r} is neither a folder nor s3://bucket/prefix")
    from mds_client.cold.places.objects import Objects

    return Objects(url)
