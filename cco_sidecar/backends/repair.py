"""A damaged segment put right: its readable records, and in place of the others what says that they are gone."""

from itertools import pairwise

from cco_sidecar.backends.segments import BEGIN, END, SKIP, Scan, following, frame, is_begin


def repaired(what: Scan, first: int, mark: int, expected: int | None) -> bytes | None:
    """Make the text of a segment that holds what a scan could read, and is damaged no more; empty if that is nothing.

    None if what lies there belongs under another name.

    A line that is lost leaves its number free: there goes what the segment lacks, or the jump to the next line.

    :param first: the segment's first sequence, by its name.
    :param mark: the highest number of an entry in earlier segments.
    :param expected: the last sequence that it had, where that is known.
    """
    records = what.records
    if not records:
        return b""
    if records[0][0] < first or (records[0][0] == first) != is_begin(records[0][1]):
        return None
    lines: list[bytes] = []
    has_end = what.end is not None

    def bridge(number: int, following_number: int) -> None:
        """Fill the numbers from one up to another, which are free."""
        nonlocal has_end
        if has_end:
            lines.append(frame(number, SKIP % following_number))
            return
        has_end = True
        lines.append(frame(number, END % (mark, 0, following_number - 1)))

    if records[0][0] > first:
        lines.append(frame(first, BEGIN % mark))
        if records[0][0] > first + 1:
            bridge(first + 1, records[0][0])
    for (number, record), (later, _) in pairwise(records):
        lines.append(frame(number, record))
        if following(number, record) < later:
            bridge(following(number, record), later)
    lines.append(frame(*records[-1]))
    last = max(what.last, expected or 0)
    if what.last < last or not has_end:
        bridge(what.last + 1, max(last, what.last + 1) + 1)
    return b"".join(lines)
