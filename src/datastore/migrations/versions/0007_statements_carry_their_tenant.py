"""The client's statements carry their tenant: a database without `mds.is_tenant` is of an older version.

Functions are made anew by every migrate (`datastore.objects`); the tables stay as they are.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Nothing to do once."""


def downgrade() -> None:
    """Nothing to undo."""
