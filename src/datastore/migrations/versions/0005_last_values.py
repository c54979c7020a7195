"""Writers call a function that keeps their series' last values: a database without it is of an older version.

Functions are made anew by every migrate (`datastore.objects`); the tables stay as they are.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Nothing to do once."""


def downgrade() -> None:
    """Nothing to undo."""
