"""Files of rows: readers for each format, detection of formats and columns, and files of rejects.

All commands, sources and uploads use the same readers and column mapping. Nothing here writes to the database: see
`mds_client.utils` and `datastore.load`.
"""

from mds_client.files.detecting import Detected, detected
from mds_client.files.parts import MODEL_ROWS, Columns, Input, Models, Part, RejectRow
from mds_client.files.readers import (
    FORMATS,
    Format,
    format_of_name,
    of_stream,
    opened,
    other_format,
    parquet,
    reading,
)
from mds_client.files.rejects import RejectFile, rejects_path
from mds_client.files.source import BLOCK_BYTES, Source, SourceError, split
from mds_client.mapping import PLAIN, Mapping
from mds_client.mapping.times import TimeUnit

__all__ = [
    "BLOCK_BYTES",
    "FORMATS",
    "MODEL_ROWS",
    "PLAIN",
    "Columns",
    "Detected",
    "Format",
    "Input",
    "Mapping",
    "Models",
    "Part",
    "RejectFile",
    "RejectRow",
    "Source",
    "SourceError",
    "TimeUnit",
    "detected",
    "format_of_name",
    "of_stream",
    "opened",
    "other_format",
    "parquet",
    "reading",
    "rejects_path",
    "split",
]
