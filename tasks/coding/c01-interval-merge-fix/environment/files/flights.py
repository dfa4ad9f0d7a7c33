# Merging flights of one gate; see SPEC.md.


def merge(flights):
    merged = []
    for start, end in sorted(flights):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
