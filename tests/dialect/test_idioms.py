"""What notebooks write runs, whatever it is worth: see idioms.py."""

import numpy as np
import pytest

import tinygrad_rnn
from tests.extras import extra

from . import idioms, more_idioms
from .test_api import find


def names(library):
    found = {"torch": library, "np": np, "nn": library.nn, "optim": library.optim}
    found |= {"F": find(library, "nn.functional"), "init": find(library, "nn.init")}
    found |= {"data_utils": find(library, "utils.data"), "Variable": find(library, "autograd").Variable}
    exec("import copy, io", found)
    exec("from typing import Optional, Tuple, List", found)
    rnn = find(library, "nn.utils.rnn")
    for name in ("pack_padded_sequence", "pad_packed_sequence", "PackedSequence"):
        found[name] = getattr(rnn, name)
    return found


@pytest.mark.host
@pytest.mark.filterwarnings("ignore")
def test_it_runs():
    space = names(tinygrad_rnn)
    for group in idioms.GROUPS + more_idioms.GROUPS:
        exec(group, space)


@pytest.mark.extras("torch")
@pytest.mark.filterwarnings("ignore")
def test_it_runs_on_pytorch():
    space = names(extra("torch"))
    for group in idioms.GROUPS + more_idioms.GROUPS:
        exec(group, space)
