"""docs/names.md says what the code has."""

import pytest

from tests.extras import extra

from . import names_table as table


def test_the_page_is_up_to_date():
    written = table.FILE.read_text(encoding="utf-8")
    assert written == table.text(), "run python -m tests.dialect.names_table"


def test_no_effect_is_said_of_names_that_are_there():
    for where, names in table.NO_OPS.items():
        place = table.find(where)
        assert [n for n in names.split() if not hasattr(place, n)] == []


@pytest.mark.extras("torch")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", table.TITLES)
def test_names_are_pytorchs(where):
    place = extra("torch")
    for part in where.removeprefix("torch").strip(".").split("."):
        place = getattr(place, part) if part else place
    invented = [n for n in table.MORE.get(where, "").split() if not hasattr(place, n)]
    assert invented == []
