"""Numbers as people and spreadsheets write them: 1500.25, 1,500.25, 1.500,25, 1 500,25, 1'500.25.

How a single one is meant may not be told, but all of a column together mostly tell it: `numbers` finds the
one way in which all of them can be read, or says what is in doubt.
"""

import re

import numpy as np

NOT_FINITE = {"nan", "inf", "infinity"}


class Wrong(Exception):
    """Why a text cannot be read, as a sentence."""


def short(text):
    """A field as it is shown in a sentence."""
    return repr(text if len(text) <= 40 else f"{text[:30]}...")


def numeric(text):
    """Whether a field may be a number, in whatever way it is written."""
    return re.fullmatch(r"[-+\u2212]?[\d.,'\u2019\s]*\d[\d.,'\u2019\s]*([eE][-+]?\d+)?", text) is not None


def patterns(decimal, group):
    """What a number looks like with a decimal mark and, where there is one, a mark between thousands."""
    point, ends = re.escape(decimal), r"(?:[eE][-+]?[0-9]+)?"
    plain = rf"[-+]?(?:[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+){ends}"
    if group is None:
        return re.compile(plain)
    between = re.escape(group)
    first = "{2,3}" if group == "," else "{3}"  # 1,50,000 is written in India
    return re.compile(
        rf"{plain}|[-+]?[1-9][0-9]{{0,2}}(?:{between}[0-9]{first})*{between}[0-9]{{3}}(?:{point}[0-9]*)?"
    )


def tidy(text):
    """A field with the usual minus sign, space and apostrophe."""
    return (
        re.sub(r"[\u00a0\u2007\u2009\u202f]", " ", text).replace("\u2212", "-").replace("\u2019", "'").strip()
    )


def numbers(fields, lines, delimiter, called, decimal=None):
    """Fields as numbers; the decimal mark, and the one between thousands, which all of them settle."""
    fields = [tidy(field) for field in fields]
    for field, line in zip(fields, lines, strict=True):
        if field.lower().lstrip("+-") in NOT_FINITE:
            raise Wrong(f"{called} has a NaN or an infinity in line {line}; take it out, or fill it in")
        if not field:
            raise Wrong(f"{called} has nothing in line {line} where a number should stand; fill it in")
    readings, worst = {}, 0
    used = [None, *(mark for mark in ",. '" if any(mark in field for field in fields))]
    for point in (decimal,) if decimal else (".", ","):
        for group in used:
            if group == point:
                continue
            pattern = patterns(point, group)
            wrong = next((i for i, field in enumerate(fields) if not pattern.fullmatch(field)), None)
            if wrong is not None:
                worst = max(worst, wrong)  # where the best reading ends
                continue
            bare = (field.replace(group, "") if group else field for field in fields)
            values = tuple(float(field.replace(point, ".")) for field in bare)
            readings.setdefault(values, (point, group))
    if not readings:
        field, line = fields[worst], lines[worst]
        sign = "; take the sign away" if re.search(r"[%$\u20ac\u00a3\u00a5]", field) else ""
        raise Wrong(f"{called} has {short(field)} where a number should stand, in line {line}{sign}")
    if len(readings) > 1:
        values, point, group = settled(readings, fields, lines, delimiter, called)
    else:
        ((values, (point, group)),) = readings.items()
    too_large = next((i for i, value in enumerate(values) if np.isinf(value)), None)
    if too_large is not None:
        raise Wrong(f"{called} has {short(fields[too_large])} in line {lines[too_large]}, too large a number")
    return np.array(values), point, group


def settled(readings, fields, lines, delimiter, called):
    """Which of two readings is meant where every mark has three digits behind it: 1,500 or 1.500."""
    by_use = {group is not None: (values, point, group) for values, (point, group) in readings.items()}
    thousands = by_use[True]
    mark = thousands[2]
    marked = next(i for i, field in enumerate(fields) if mark in field)
    bare = [float(field) for field in fields if mark not in field]
    if bare:
        if max(map(abs, bare)) >= 1000:
            return by_use[False]  # thousands are not marked
        if mark == "," or any(field.endswith("0") for field in fields if mark in field):
            return thousands  # who writes 1.500 beside 950 does not mean 1.5
    elif mark == delimiter:
        return thousands  # where a comma parts the columns it is no decimal mark
    elif mark == "." and delimiter != ";":
        return by_use[False]
    low, high = (reading[0][marked] for reading in (by_use[False], thousands))
    raise Wrong(
        f"{called} has {short(fields[marked])} in line {lines[marked]}, which may be {low:g} or {high:g}: "
        f'say --decimal "{"." if mark == "," else ","}" or --decimal "{mark}"'
    )
