"""Tables as spreadsheets write them: which delimiter, which decimal mark, and where the numbers begin.

    values, said = series("sales.csv")      # the last column, and one line that says how it was read

Nothing is dropped without a word, and nothing is guessed where a file may be read in two ways: then, as
where it cannot be read at all, the example ends with one sentence that names the line and what to write.
"""

import collections
import dataclasses
import itertools
import re

import common
import numpy as np
from numerals import NOT_FINITE, Wrong, numbers, numeric, patterns, short

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
FIELDS = re.compile(r"[\t;|,]")  # whatever parts them
NAMES = {mark: name for name, mark in DELIMITERS.items()}
HEADERS = """
    date day days time times timestamp datetime year years month months week weeks quarter hour hours minute
    minutes second seconds period step t x i n id no nr index row key name label datum tag jahr monat woche
    zeit uhrzeit stunde fecha hora mes año dia día jour mois année annee heure semaine data giorno mese anno
    ano
""".split()  # noqa: SIM905 (what a first column is called)
MISSING = {"nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "?", ""}


@dataclasses.dataclass
class Format:
    """How a file is to be read; None: as it turns out."""

    delimiter: str | None = None  # "" for a single column
    decimal: str | None = None
    column: str | None = None  # a name, or a number from 1 on; the last one
    header: int | None = None  # lines at the top that are names


def add_options(add):
    """The options that settle what a file leaves open."""
    add("--delimiter", choices=[*DELIMITERS, *DELIMITERS.values(), "none"], metavar="MARK",
        help="between columns: comma, semicolon, tab, pipe or none (found from the file)")  # fmt: skip
    add("--decimal", choices=[".", ","], help="the decimal mark (found from the file)")
    add("--column", metavar="NAME", help="name or number of the column to read (the last one)")
    add("--header", type=common.number(int, lambda n: 0 <= n < 1000, "between 0 and 999"), metavar="LINES",
        help="how many lines at the top are names, comments not counted (found from the file)")  # fmt: skip


def format_of(args):
    """What those options say."""
    delimiter = "" if args.delimiter == "none" else DELIMITERS.get(args.delimiter, args.delimiter)
    return Format(delimiter, args.decimal, args.column, args.header)


# ---------------------------------------------------------------- text


def read_text(path):
    """The text of a file and the name of its encoding. Exits with one sentence where there is none."""
    try:
        with open(path, "rb") as file:
            return decoded(file.read(), path)
    except OSError as error:
        common.fail(f"{path} cannot be read: {error.strerror}")
    except Wrong as error:
        common.fail(error)


def decoded(content, called):
    """Bytes as text, by their byte order mark, else as UTF-8, else as Windows-1252: names alone differ."""
    marks = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
    mark, encoding = next(((m, e) for m, e in marks.items() if content.startswith(m)), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        if mark:
            raise Wrong(f"{called} is no text in UTF-8 or UTF-16, though it begins like one") from None
        encoding = "cp1252"
        text = content.decode("cp1252", errors="replace")
    if re.search(r"[\0-\x08\x0e-\x1f\x7f]", text):
        what = "zero bytes" if "\0" in text else "control characters"
        raise Wrong(f"{called} is no text in UTF-8 or UTF-16: it holds {what}")
    return text.removeprefix("\ufeff"), encoding


# ---------------------------------------------------------------- rows


def split(text, delimiter, called):
    """(line number, fields) of every line that is neither empty nor a comment; and how many comments."""
    lines, rows, n_comments, k = re.split(r"\r\n|\r|\n", text), [], 0, 0
    while k < len(lines):
        number, line = k + 1, lines[k]
        k += 1
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            n_comments += 1
            continue
        if '"' in line:
            fields, k = quoted(lines, k - 1, delimiter, called)
        else:
            fields = line.split(delimiter) if delimiter else [line]
        rows.append((number, [field.strip() for field in fields]))
    return rows, n_comments


def quoted(lines, first, delimiter, called):
    """The fields of a line with quotes, and the number of the line after it. Quotes are those that a field
    begins with; what they hold may go on in the next line, unless that line looks like a row of its own.
    """
    fields, k, line = [], first, lines[first]
    while True:
        start = line.lstrip(" ")
        if not start.startswith('"'):
            field, found, line = line.partition(delimiter) if delimiter else (line, "", "")
            fields.append(field)
            if not found:
                return fields, k + 1
            continue
        rest, content = start[1:], ""
        while (match := re.match(r'((?:[^"]|"")*)"', rest)) is None:
            k += 1
            if k == len(lines):
                raise Wrong(
                    f'line {first + 1} of {called} opens a quote (") that is never closed; take it out'
                )
            if (delimiter and delimiter in lines[k]) or re.fullmatch(r'\s*[-+]?[\d.,]+"?\s*', lines[k]):
                raise Wrong(
                    f'line {first + 1} of {called} opens a quote (") that is not closed before the next row; '
                    "take it out"
                )
            content, rest = f"{content}{rest}\n", lines[k]
        field, line = content + match[1], rest[match.end() :].lstrip(" ")
        fields.append(field.replace('""', '"'))
        if not line:
            return fields, k + 1
        if not delimiter or not line.startswith(delimiter):
            raise Wrong(f"line {k + 1} of {called} has text behind a closing quote; take the quotes out")
        line = line[len(delimiter) :]


def kind(text):
    """What a field looks like: nothing, a number, a date or time, or a word and where its digits are."""
    if not text:
        return "nothing"
    if numeric(text):
        return "number"
    if re.fullmatch(r"\d[\d./:\-+TZ ]*([AaPp][Mm])?", text):
        return "date"
    return re.sub("0+", "0", re.sub(r"\d", "0", re.sub(r"[^\W\d]+", "a", text)))


# ---------------------------------------------------------------- one column


@dataclasses.dataclass
class Reading:
    """A column, and how it was read."""

    values: np.ndarray
    delimiter: str
    decimal: str
    group: str | None
    column: int  # from 0 on
    names: list  # the lines at the top, as fields
    rows: list  # the others
    n_comments: int

    def __str__(self):
        n, names = len(self.rows[0][1]), self.names[-1] if self.names else []
        called = f" ({short(names[self.column])})" if self.column < len(names) and names[self.column] else ""
        parts = [f"{len(self.values):,} value{'s' * (len(self.values) != 1)}"]
        parts += [f"column {self.column + 1} of {n}{called}, {NAMES[self.delimiter]} between columns"
                  if self.delimiter else f"one column{called}"]  # fmt: skip
        parts += [f'decimal mark "{self.decimal}"']
        parts += [f'"{self.group}" between thousands'] * (self.group is not None)
        parts += [f"{len(self.names)} line{'s' * (len(self.names) != 1)} of names"] * bool(self.names)
        parts += [f"{self.n_comments} comment{'s' * (self.n_comments != 1)} left out"] * bool(self.n_comments)
        return ", ".join(parts)


def series(path, form=None):
    """One column of a file as a `Reading`. Exits with one sentence where that cannot be."""
    text, encoding = read_text(path)
    try:
        found = column_of(text, path, form or Format())
    except Wrong as error:
        common.fail(error)
    return found, f"{path}: {found}" + (f"; read as {encoding}" if encoding != "utf-8" else "")


def column_of(text, called, form):
    """A `Reading` of a text. Raises Wrong."""
    if form.delimiter is not None:
        return read_column(text, form.delimiter, called, form)
    reasons = {}
    for delimiter in (mark for mark in "\t;|" if mark in text):
        try:
            return read_column(text, delimiter, called, form)
        except Wrong as reason:  # noqa: PERF203
            reasons[delimiter] = reason
            if parts_all(text, delimiter, called):
                raise
    try:
        return read_column(text, "," if has_columns(text, called) else "", called, form)
    except Wrong as reason:
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        often = [mark for mark in reasons if 2 * sum(mark in line for line in lines) > len(lines)]
        raise (reasons[often[0]] if often else reason) from None


def parts_all(text, delimiter, called):
    """Whether a delimiter parts every line into the same number of fields."""
    try:
        return len({len(row) for _, row in split(text, delimiter, called)[0]}) == 1
    except Wrong:
        return False


def has_columns(text, called):
    """Whether commas part columns, or are in the numbers of a single one. Raises Wrong where both may be."""
    rows = split(text, ",", called)[0]
    begin = next((i for i, (_, row) in enumerate(rows) if any(map(numeric, row))), len(rows))
    body = [row for _, row in rows[begin:]]
    if not body or all(len(row) == 1 for row in body):
        return False
    if begin:  # names are parted as the columns are
        return len(rows[begin - 1][1]) > 1
    fields = [field for row in body for field in row]
    if any("," in field or not (numeric(field) or not field) for field in fields):
        return True  # there are quotes, or words
    alone = [",".join(row) for row in body]
    if not any(all(patterns(*marks).fullmatch(t) for t in alone) for marks in ((",", "."), (".", ","))):
        return True
    if any(re.match("0[0-9]", field) for row in body for field in row[1:]):
        return False  # digits behind a decimal mark
    first = [row[0] for row in body]
    if counts(first[1:] if not first[0] else first):  # an index has no name
        return True
    if any(len(row) == 1 for row in body):
        return False
    raise Wrong(
        f"{called} has {short(alone[0])} in line {rows[0][0]}, which may be {len(body[0])} columns or one "
        'number: say --delimiter comma, or --delimiter none and --decimal "," or "."'
    )


def counts(fields):
    """Whether a column numbers the rows: whole numbers with the same step between all."""
    if len(fields) < 3 or not all(re.fullmatch("-?[0-9]{1,15}", field) for field in fields):
        return False
    steps = {int(b) - int(a) for a, b in itertools.pairwise(fields)}
    return len(steps) == 1 and steps != {0}


def read_column(text, delimiter, called, form):
    """A `Reading` with a given delimiter. Raises Wrong."""
    rows, n_comments = split(text, delimiter, called)
    while rows and not any(rows[-1][1]):
        rows.pop()
    if form.header is not None and form.header >= len(rows):
        raise Wrong(f"{called} has {len(rows)} lines, and --header {form.header} leaves none")
    n = collections.Counter(len(row) for _, row in rows[form.header or 0 :]).most_common(1)
    n = n[0][0] if n else 1
    while n > 1 and not any(any(row[n - 1 :]) for _, row in rows):
        n -= 1  # delimiters at the end of all lines
    rows = [(line, row if any(row[n:]) else row[:n]) for line, row in rows]
    k = column_number(form.column, rows, n, called)
    begin = first_row(rows, k, n, called, delimiter) if form.header is None else form.header
    names, rows = [row for _, row in rows[:begin]], rows[begin:]
    if not rows:
        raise no_numbers(names, k, called, form)
    for line, row in rows:
        if len(row) != n:
            raise Wrong(
                f"line {line} of {called} has {len(row)} field{'s' * (len(row) != 1)} where the others have "
                f"{n}; mend it, or put quotes around a field with a delimiter in it"
            )
    alike(rows, k, called)
    lines, fields = [line for line, _ in rows], [row[k] for _, row in rows]
    values, point, group = numbers(fields, lines, delimiter, called, form.decimal)
    if not delimiter and group == " " and counts([field.split()[0] for field in fields]):
        raise Wrong(
            f"{called} has {short(fields[0])} in line {lines[0]}, which may be two numbers or one; put a "
            "comma or a tab between columns"
        )
    return Reading(values, delimiter, point, group, k, names, rows, n_comments)


def no_numbers(names, k, called, form):
    """The sentence for a column without any: where one has a sign, as in "12 %", it is named."""
    for row in names:
        if k < len(row) and re.search(r"[%$\u20ac\u00a3\u00a5]", row[k]) and re.search("[0-9]", row[k]):
            return Wrong(f"{called} has {short(row[k])} where a number should stand; take the sign away")
    which = "last column; say --column NAME for another" if form.column is None else f"column {form.column}"
    return Wrong(f"{called} has no numbers in its {which}")


def column_number(column, rows, n, called):
    """Which column is meant, from 0 on."""
    if column is None:
        return n - 1
    if column.isascii() and column.isdigit() and 1 <= int(column[:9]) <= n:
        return int(column) - 1
    begin = next((i for i, (_, row) in enumerate(rows) if any(map(numeric, row))), len(rows))
    for _, row in rows[: begin + 1]:
        names = [field.lower() for field in row]
        if column.strip().lower() in names:
            return names.index(column.strip().lower())
    raise Wrong(
        f"{called} has no column {short(column)}: there are {n}; give one's name, or its number from 1 on"
    )


def first_row(rows, k, n, called, delimiter):
    """How many lines at the top are names: those without a number, and one with a number that is a name."""
    begin = next((i for i, (_, row) in enumerate(rows) if len(row) == n and numeric(row[k])), len(rows))
    below = rows[begin : begin + 50]
    kinds = [{kind(row[j]) for _, row in below if len(row) == n} for j in range(n)]
    for line, row in rows[:begin]:
        data = [j for j in range(min(n, len(row))) if j != k and kind(row[j]) in ("number", "date")]
        cell = row[k] if k < len(row) else ""
        if any(kinds[j] == {kind(row[j])} for j in data) or (n == 1 and cell.lower() in MISSING):
            if cell.lower() in NOT_FINITE:
                raise Wrong(f"{called} has a NaN or an infinity in line {line}; take it out, or fill it in")
            raise Wrong(f"{called} has {short(cell)} where a number should stand, in line {line}; fill it in")
    if begin == 0 and len(rows) > 3 and len(rows[0][1]) == n:
        return named_by_number(rows, k, n, called, delimiter)
    return begin


def named_by_number(rows, k, n, called, delimiter):
    """1 where the first line, though it has a number, is one of names (`date,2024`), else 0."""
    line, first = rows[0]
    others = [row for _, row in rows[1:] if len(row) == n]
    for j in range(n):
        if j == k:
            continue
        own, kinds = kind(first[j]), {kind(row[j]) for row in others}
        if first[j].lower() in HEADERS or (own not in {"number", "date", *kinds} and len(kinds) == 1):
            return 1
    values = [float(row[k]) for row in others if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", row[k])]
    year = re.fullmatch("(1[89]|2[01])[0-9]{2}", first[k])
    if year and values and len(values) == len(others) and not counts([row[k] for _, row in rows]):
        value = float(first[k])
        if not any(value / 2 <= other <= value * 2 for other in values):
            raise Wrong(
                f"{called} has {first[k]} in line {line}, which may be a name or a value: say --header 1 or "
                "--header 0"
            )
    return 0


def alike(rows, k, called):
    """Raises Wrong for a row that is no row of the table: a sum below it, or names once more."""
    for j in range(len(rows[0][1]) if len(rows) > 3 else 0):
        if j == k:
            continue
        odd = [(line, row[j]) for line, row in rows if row[j] and not re.search(r"\d", row[j])]
        if odd and len(odd) <= len(rows) // 10 and all(re.search(r"\d", row[j]) for _, row in rows[:3]):
            line, field = odd[0]
            raise Wrong(
                f"line {line} of {called} has {short(field)} where the others have a number or a date; if it "
                "is a sum or a note, take the line out"
            )


# ---------------------------------------------------------------- many columns


def matrix(path, called, n=12):
    """All of a file as numbers (rows, n). Raises Wrong."""
    with open(path, "rb") as file:
        text, _ = decoded(file.read(), called)
    reasons = []
    for delimiter in (*(mark for mark in "\t;|" if mark in text), ","):
        rows, _ = split(text, delimiter, called)
        if rows and not any(map(numeric, rows[0][1])):
            rows = rows[1:]  # names
        line, n_fields = next(((line, len(row)) for line, row in rows if len(row) != n), (0, n))
        try:
            if not rows:
                raise Wrong(f"{called} has no rows")
            if n_fields != n:
                raise Wrong(f"line {line} of {called} has {n_fields} field{'s' * (n_fields != 1)}, not {n}")
            fields = [field for _, row in rows for field in row]
            lines = [line for line, row in rows for _ in row]
            return numbers(fields, lines, delimiter, called)[0].reshape(-1, n)
        except Wrong as reason:
            reasons.append(reason)
    raise reasons[0]
