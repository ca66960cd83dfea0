"""Files as spreadsheets write them: read as they are meant, or one sentence, and never fewer rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import EXAMPLES

pytestmark = pytest.mark.host  # has nothing to do with arrays

VALUES = [100 + 7.25 * (t * t % 11) + t / 4 for t in range(24)]
LARGE = [900 + 37 * t for t in range(24)]
SMALL = [t * 7 % 13 for t in range(24)]


@pytest.fixture(scope="module")
def table():
    import sys

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        patch.setattr(sys, "argv", ["toy.py"])
        import table

        yield table
    for name in ("table", "numerals", "common"):
        sys.modules.pop(name, None)


def comma(text):
    return text.replace(".", ",")


def german(value):
    return f"{value:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def lines(rows, head=""):
    return head + "".join(f"{row}\n" for row in rows)


READ = {  # content, values, what is said
    "decimal commas": (
        lines(f"m{t};{comma(f'{v:.2f}')}" for t, v in enumerate(VALUES)),
        VALUES,
        'semicolon between columns, decimal mark ","',
    ),
    "decimal commas alone": (
        lines(comma(f"{v:.2f}") for v in VALUES),
        VALUES,
        'one column, decimal mark ","',
    ),
    "decimal commas below a name": (
        lines((comma(f"{v:.1f}") for v in SMALL), "value\n"),
        SMALL,
        "one column ('value'), decimal mark \",\"",
    ),
    "commas between thousands, in quotes": (
        lines(f'{t},"{v:,}"' for t, v in enumerate(LARGE)),
        LARGE,
        '"," between thousands',
    ),
    "commas between thousands and points": (
        lines(f'{t},"{1000 * v:,.2f}"' for t, v in enumerate(LARGE)),
        [1000 * v for v in LARGE],
        'decimal mark ".", "," between thousands',
    ),
    "points between thousands": (
        lines((f"{t};{german(v)}" for t, v in enumerate(LARGE)), "Tag;Wert\n"),
        LARGE,
        'semicolon between columns, decimal mark ",", "." between thousands, 1 line of names',
    ),
    "points between thousands, no decimals": (
        lines(f"{t};{v:,}".replace(",", ".") for t, v in enumerate(LARGE)),
        LARGE,
        '"." between thousands',
    ),
    "spaces between thousands": (lines(f"{v:,}".replace(",", " ") for v in LARGE), LARGE, '" " between'),
    "narrow spaces between thousands": (
        lines(f"{v:,}".replace(",", "\u202f") for v in LARGE),
        LARGE,
        '" " between thousands',
    ),
    "apostrophes between thousands": (
        lines(f"{t}\t{v:,}".replace(",", "\u2019") for t, v in enumerate(LARGE)),
        LARGE,
        '"\'" between',
    ),
    "as in India": (
        lines(f'{t},"{v}"' for t, v in enumerate(["1,50,000", "12,34,567", "999"])),
        [150000, 1234567, 999],
        '"," between thousands',
    ),
    "three decimals": (lines(f"{t},{v:.3f}" for t, v in enumerate(VALUES)), VALUES, 'decimal mark "."'),
    "rows that are numbered": (lines(f"{t},{v}" for t, v in enumerate(SMALL)), SMALL, "column 2 of 2, comma"),
    "tabs": (lines(f"{t}\t{v}" for t, v in enumerate(VALUES)), VALUES, "column 2 of 2, tab"),
    "pipes": (lines(f"{t} | {v}" for t, v in enumerate(VALUES)), VALUES, "column 2 of 2, pipe"),
    "dates": (
        lines((f"2024-01-{t + 1:02},{v}" for t, v in enumerate(VALUES)), "date,value\n"),
        VALUES,
        "column 2 of 2 ('value'), comma between columns, decimal mark \".\", 1 line of names",
    ),
    "a name that is a number": (
        lines((f"2024-{t},{v}" for t, v in enumerate(SMALL)), "date,2024\n"),
        SMALL,
        "column 2 of 2 ('2024'), comma between columns, decimal mark \".\", 1 line of names",
    ),
    "an index without a name": (
        lines((f"{t},{v}" for t, v in enumerate(SMALL)), ",0\n"),
        SMALL,
        "1 line of names",
    ),
    "words, then numbers": (
        lines((f"{'abc'[t % 3]}{t},{v}" for t, v in enumerate(SMALL)), "shop,1999\n"),
        SMALL,
        "('1999')",
    ),
    "titles": (
        lines((f"{t},{v}" for t, v in enumerate(SMALL)), "Sales\n\nday,sold\n"),
        SMALL,
        "2 lines of names",
    ),
    "comments and empty lines": (
        "# sold\n\n" + lines((f"{t},{v}\n" for t, v in enumerate(SMALL)), "day,sold\n") + "\n,,\n",
        SMALL,
        "1 line of names, 1 comment left out",
    ),
    "delimiters at the ends": (lines(f"{t};{v};;" for t, v in enumerate(VALUES)), VALUES, "column 2 of 2"),
    "carriage returns": (lines(f"{t},{v}" for t, v in enumerate(VALUES)).replace("\n", "\r"), VALUES, "of 2"),
    "both": (lines(f"{t},{v}" for t, v in enumerate(VALUES)).replace("\n", "\r\n"), VALUES, "of 2"),
    "a name in two lines": (
        lines((f"{t},{v}" for t, v in enumerate(SMALL)), 'day,"sold\n(kg)"\n'),
        SMALL,
        "sold",
    ),
    "quotes in a field": (lines(f'{t}" pipe,{v}' for t, v in enumerate(SMALL)), SMALL, "column 2 of 2"),
    "quoted quotes": (lines(f'"a ""b"", {t}",{v}' for t, v in enumerate(SMALL)), SMALL, "column 2 of 2"),
    "a real minus": (
        lines(f"{t},\u2212{v + 1}" for t, v in enumerate(SMALL)),
        [-1 - v for v in SMALL],
        "of 2",
    ),
    "exponents": (lines(f"{t},{v:.3e}" for t, v in enumerate(LARGE)), LARGE, "of 2"),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_it_is_meant(table, name):
    content, values, said = READ[name]
    found = table.column_of(content, "a.csv", table.Format())
    np.testing.assert_allclose(found.values, values, rtol=1e-15)
    assert str(found).startswith(f"{len(values)} values, ")
    assert said in str(found)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8-sig", ""), ("utf-16", "; read as utf-16-le"), ("latin-1", "; read as cp1252")],
)
def test_encodings(table, tmp_path, encoding, said):
    path = tmp_path / "a.csv"
    path.write_bytes(lines((f"{t};{v}" for t, v in enumerate(VALUES)), "Größe;Wert\n").encode(encoding))
    found, sentence = table.series(path)
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.names == [["Größe", "Wert"]]
    assert sentence.endswith("1 line of names" + said)


def with_row(row, at=6):
    """A table with another row in line 8."""
    return lines((f"2024-01-{t + 1:02},{v}" if t != at else row for t, v in enumerate(SMALL)), "day,sold\n")


REFUSED = {  # content, a part of the sentence
    "a row with one field fewer": (with_row("6"), "line 8 of a.csv has 1 field where the others have 2"),
    "a row with one field more": (with_row("6,5,4"), "line 8 of a.csv has 3 fields where the others have 2"),
    "fewer, and no names": (lines(["1,5", "2,7", "3", "4,9"]), "line 3 of a.csv has 1 field"),
    "a quote that is never closed": (
        with_row('6,"5', 23),
        'line 25 of a.csv opens a quote (") that is never',
    ),
    "a quote in the middle": (
        with_row('6,"5'),
        'line 8 of a.csv opens a quote (") that is not closed before',
    ),
    "a quote that another closes": (with_row('"6,5') + '"30",5\n', "line 8 of a.csv opens a quote"),
    "a quote in the only column": ('1\n2\n"3\n4\n5"\n6\n', "line 3 of a.csv opens a quote"),
    "text behind a quote": (with_row('6,"5" or so'), "line 8 of a.csv has text behind a closing quote"),
    "a missing value": (with_row("6,"), "has nothing in line 8 where a number should stand"),
    "the first is missing": (with_row("2024-01-01,", 0), "has '' where a number should stand, in line 2"),
    "the first is not there": (
        with_row("2024-01-01,n/a", 0),
        "has 'n/a' where a number should stand, in line 2",
    ),
    "not a number": (with_row("2024-01-07,nan"), "has a NaN or an infinity in line 8"),
    "infinite": (with_row("2024-01-07,-inf"), "has a NaN or an infinity in line 8"),
    "too large": (with_row("2024-01-07,1e400"), "has '1e400' in line 8, too large a number"),
    "a word": (with_row("2024-01-07,five"), "has 'five' where a number should stand, in line 8"),
    "Python's own digits": (
        with_row("2024-01-07,1_000"),
        "has '1_000' where a number should stand, in line 8",
    ),
    "a sign": (with_row("2024-01-07,5 %"), "has '5 %' where a number should stand, in line 8; take the sign"),
    "only signs": (lines((f"{t},\u20ac {v}" for t, v in enumerate(SMALL)), "a,b\n"), "; take the sign away"),
    "a long field": (with_row(f"2024-01-07,{'x' * 200_000}"), f"has '{'x' * 30}...' where a number"),
    "a long number": (with_row(f"2024-01-07,{'1' * 200_000}"), "in line 8, too large a number"),
    "a sum": (with_row("2024-01-07,5") + "Total,140\n", "line 26 of a.csv has 'Total' where the others have"),
    "names once more": (with_row("day,sold"), "line 8 of a.csv has 'day'"),
    "commas between what": (
        lines(f"{t * t % 17},{v}" for t, v in enumerate(SMALL)),
        "has '0,0' in line 1, which may be 2 columns or one number: say --delimiter comma, or",
    ),
    "thousands or decimals": (
        lines((f"{v + 1},{v + 100}" for v in SMALL), "sold\n"),
        'has \'1,100\' in line 2, which may be 1.1 or 1100: say --decimal "." or --decimal ","',
    ),
    "decimals or thousands": (
        lines(f"{t};{v + 1}.{v + 100}" for t, v in enumerate(SMALL)),
        'has \'1.100\' in line 1, which may be 1.1 or 1100: say --decimal "," or --decimal "."',
    ),
    "numbers with a space": (
        lines(f"{t} {v + 100}" for t, v in enumerate(SMALL, 1)),
        "may be two numbers or one",
    ),
    "a year or a value": ("2024\n" + lines(SMALL), "has 2024 in line 1, which may be a name or a value"),
    "nothing": ("", "has no numbers in its last column"),
    "names alone": ("day,sold\nmonday,many\n", "has no numbers in its last column"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_doubt_is_one_sentence(table, name):
    content, message = REFUSED[name]
    with pytest.raises(table.Wrong) as refused:
        table.column_of(content, "a.csv", table.Format())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_options_settle_it(table):
    content = lines((f"{t * t % 17},{v}" for t, v in enumerate(SMALL)), "")

    def of(**options):
        return table.column_of(content, "a.csv", table.Format(**options)).values[1]

    assert of(delimiter=",") == 7
    assert of(delimiter="", decimal=",") == pytest.approx(1.7)
    content = lines(f"{v + 1}.{v + 100}" for v in SMALL)
    assert of(delimiter="", decimal=",") == 8107
    assert of(delimiter="", decimal=".") == pytest.approx(8.107)
    content = "2024\n" + lines(SMALL)
    assert of(header=1) == 7
    assert of(header=0) == 0
    content = lines((f"{t},{v},x" for t, v in enumerate(SMALL)), "day,Sold,note\n")
    assert of(column="sold") == of(column="2") == 7
    with pytest.raises(table.Wrong, match=r"has no column 'price': there are 3"):
        of(column="price")
    with pytest.raises(table.Wrong, match="--header 99 leaves none"):
        of(header=99)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.decimals(-(10**7), 10**7, places=2, allow_nan=False), min_size=12, max_size=30),
    style=st.sampled_from(
        [(",", ".", ""), (";", ",", ""), (";", ",", "."), ("\t", ",", " "), ("|", ".", "'")]
    ),
    names=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    quotes=st.booleans(),
)
def test_what_a_spreadsheet_writes_comes_back(table, values, style, names, ending, quotes):
    """Two decimals, so that no mark can be taken for another: every row, whatever the style."""
    delimiter, point, group = style
    shown = (f"{v:,.2f}".replace(",", "_").replace(".", point).replace("_", group) for v in values)
    rows = [["day", "value"]] * names + [[f"2024-{t:03}", text] for t, text in enumerate(shown)]
    quote = '"' if quotes else ""
    content = ending.join(delimiter.join(f"{quote}{field}{quote}" for field in row) for row in rows) + ending
    found = table.column_of(content, "a.csv", table.Format())
    np.testing.assert_array_equal(found.values, [float(v) for v in values])
    assert (found.delimiter, found.decimal, len(found.names)) == (delimiter, point, names)


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789.,;\t|\"' \n\r-e#anx%", max_size=80))
def test_no_text_makes_it_stumble(table, text):
    """A reading with a value for every line that is not said to be something else, or a sentence."""
    try:
        found = table.column_of(text, "a.csv", table.Format())
    except table.Wrong:
        return
    assert np.isfinite(found.values).all()
    filled = [line for line in text.replace("\r", "\n").split("\n") if line.strip(' \t\x0b\x0c;|,"')]
    if '"' not in text:
        assert len(found.values) + len(found.names) + found.n_comments >= len(filled)
