"""The client library."""

from mds_client.models import Bar
from mds_client.schema import KINDS

__all__ = ["KINDS", "Bar"]
