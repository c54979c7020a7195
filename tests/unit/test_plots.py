"""Drawings of the server: what is on their axes, and results that are not drawn."""

from datastore.console import plots
from datastore.console.pages.sql.drawing import drawn
from datastore.console.plots import Line
from datastore.querying import Result

COLUMNS = [("ts", "timestamp with time zone"), ("price", "double precision")]


def result(*rows: tuple[str | None, str | None]) -> Result:
    return Result(columns=COLUMNS, rows=[*rows], more=False, seconds=0.0)


def test_times_of_an_axis_do_not_overlap() -> None:
    day = 86_400.0
    shown = plots.plot("it", [Line("a", [(day, 1), (day * 2 + 1, 2)])], x_label="", y_label="", x_text=plots.moment)
    assert shown is not None
    assert [tick.text for tick in shown.x_ticks] == [
        "1970-01-02", "1970-01-02 08:00:00", "1970-01-02 16:00:00", "1970-01-03 00:00:01",
    ]  # fmt: skip
    apart = [later.at - earlier.at for earlier, later in zip(shown.x_ticks, shown.x_ticks[1:], strict=False)]
    # A time has 19 letters of about 6.5 pixels. The first and the last one end where the drawing does.
    assert min(apart) > 1.5 * 19 * 6.5
    assert shown.moments


def test_a_result_with_a_single_time_is_not_drawn() -> None:
    assert drawn(result(("2024-01-02 15:30:00+00", "1"), ("2024-01-02 15:30:00+00", "2"))) is None
    assert drawn(result(("2024-01-02 15:30:00+00", "1"), ("2024-01-02 15:31:00+00", None))) is None
    assert drawn(result(("2024-01-02 15:30:00+00", "1"), ("2024-01-02 15:31:00+00", "2"))) is not None
