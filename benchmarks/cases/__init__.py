"""Every case, group by group; importing this fills `benchmarks.case.CASES`, in the order of the table."""

from benchmarks.cases import engines, floors, live, modes, others, ours, reads

__all__ = ["engines", "floors", "live", "modes", "others", "ours", "reads"]
