"""A timeframe has one spelling: what was written as `60m` or `60s` is found as `1h` and `1m`.

A series is renamed. Where both spellings are there, the rows of the longer one go to the other, whose own rows stay.

Released: what it does stays as it is, whatever the declarations become.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_CANONICAL = """
CREATE FUNCTION pg_temp.one_spelling(timeframe text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  count integer := substring(timeframe FROM '^[0-9]+')::integer;
  unit text := substring(timeframe FROM '[a-z]+$');
BEGIN
  IF unit = 's' AND count % 60 = 0 THEN
    count := count / 60;
    unit := 'm';
  END IF;
  IF unit = 'm' AND count % 60 = 0 THEN
    count := count / 60;
    unit := 'h';
  END IF;
  RETURN count || unit;
END
$$
"""

_RENAME = """
DO $$
DECLARE
  found record;
BEGIN
  FOR found IN
    SELECT s.series_id, other.series_id AS other_id, pg_temp.one_spelling(s.timeframe) AS spelling
      FROM store.series AS s
      LEFT JOIN store.series AS other
        ON other.kind = s.kind AND (other.series_id >> 40) = (s.series_id >> 40) AND other.vendor = s.vendor
       AND other.symbol = s.symbol AND other.timeframe = pg_temp.one_spelling(s.timeframe)
     WHERE s.kind = 'bars' AND s.timeframe ~ '^[0-9]+[sm]$' AND s.timeframe <> pg_temp.one_spelling(s.timeframe)
     ORDER BY s.series_id
  LOOP
    IF found.other_id IS NULL THEN
      UPDATE store.series SET timeframe = found.spelling WHERE series_id = found.series_id;
    ELSE
      INSERT INTO store.bars (series_id, ts, open_price, high_price, low_price, close_price, volume, id)
      SELECT found.other_id, ts, open_price, high_price, low_price, close_price, volume, id
        FROM store.bars WHERE series_id = found.series_id
      ON CONFLICT DO NOTHING;
      DELETE FROM store.bars WHERE series_id = found.series_id;
      DELETE FROM store.series WHERE series_id = found.series_id;
      UPDATE store.series AS s
         SET last_ts = (SELECT max(b.ts) FROM store.bars AS b WHERE b.series_id = found.other_id),
             (last_price_ts, last_price) = (
               SELECT b.ts, b.close_price FROM store.bars AS b
                WHERE b.series_id = found.other_id AND b.close_price IS NOT NULL ORDER BY b.ts DESC LIMIT 1)
       WHERE s.series_id = found.other_id;
    END IF;
  END LOOP;
END
$$
"""


def upgrade() -> None:
    """Rename, or merge."""
    op.execute(_CANONICAL)
    op.execute(_RENAME)
    # A gap count is made again by the next check.
    op.execute(
        "DELETE FROM store.gap_counts WHERE timeframe ~ '^[0-9]+[sm]$' AND timeframe <> pg_temp.one_spelling(timeframe)"
    )
    op.execute("DROP FUNCTION pg_temp.one_spelling(text)")


def downgrade() -> None:
    """Nothing to undo: a release before this one reads the spelling, too."""
