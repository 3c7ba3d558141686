"""Members written into a store as if they had been computed."""

from bench.execution.record import failed_rows


def curve_of(rows):
    """One curve row of every computed member: without any, a store counts the member as lacking."""
    return [{"member_id": row["member_id"], "step": 0} for row in rows if row["status"] != "failed"]


def stored(cell, store, metrics, curves=()):
    """Store members of `cell` as if computed: `metrics(index)` is their metrics, or None for a diverged one."""
    rows = failed_rows(cell, range(len(cell.ids)), "")
    for i, row in enumerate(rows):
        values = metrics(i)
        row |= {"error": None, "status": "diverged" if values is None else "done", **(values or {})}
    points = [{"member_id": cell.ids[i], **point} for i, points in enumerate(curves) for point in points]
    store.write(rows, points or curve_of(rows))
