"""What layers say of themselves."""

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def test_the_line_that_makes_the_gradient_of_the_recurrent_weight():
    text = nn.LSTM(3, 4).explain("reverse")
    per_step, after = text.split("after all steps")
    assert "gradient of weight_hh = h^T @ %" in after
    value = after.split("gradient of weight_hh = h^T @ ")[1].split()[0]
    assert f"  {value}: float32[n, 16] = concat(" in per_step
    assert "gradient of weight_ih = x^T @ d_%1" in after
    assert "gradient of bias = the sum of the rows of d_%1" in after
    assert f"gradient of %1 = {value}" in per_step


def test_step_and_places():
    text = nn.GRU(3, 4, num_layers=2, bidirectional=True, reset_after=True).explain()
    parts = text.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [
        f"GRUCell, layer {layer}, {way}" for layer in (0, 1) for way in ("forward", "backward")
    ]
    for part in parts:
        assert (
            "before the loop, for all steps at once:\n  %1: float32[n, 12] = addmm(bias, x, weight_ih)"
            in part
        )
        assert "matmul(h, weight_hh)    # scratch" in part
        assert "# all steps 1" in part
        assert "new h = " in part


def test_kernels_of_a_gpu():
    text = nn.LSTM(3, 4).explain("cuda")
    assert text.count('extern "C" __global__ void group(') >= 2
    assert "tanh(" in text


def test_c():
    text = nn.LSTM(3, 4).explain("c")
    assert text.count("EXPORT void rows(const Call* call, Index r0, Index r1) {") == 2
    assert "product(" in text
    assert "runs by NumPy: " in nn.LSTM(3, 4, dtype="float16").explain("c")


def test_half_and_double():
    assert "float16[n, 16]" in nn.LSTM(3, 4, dtype="float16").explain()
    assert "float64[n, 16]" in nn.LSTM(3, 4, dtype="float64").explain("reverse")


class Drawing(nn.Cell):
    def step(self, px, h):
        return nn.functional.dropout(h, 0.5, True) + px


def test_why_a_step_runs_op_by_op():
    assert nn.Recurrent(Drawing(3, 3)).explain().endswith("runs op by op: it draws random numbers")
    text = nn.Recurrent(nn.Zoneout(nn.RNNCell(3, 4))).explain()
    assert "project runs as it stands: it draws random numbers" in text
    assert "mul(" in text


def test_a_state_of_one_tensor_or_of_several_without_names():
    class Two(nn.Cell):
        def step(self, px, state):
            a, b = state
            return tg.tanh(a + px), a * b

        def initial_state(self, batch_size, like):
            return like.new_zeros(batch_size, 3), like.new_zeros(batch_size, 3)

    text = nn.Recurrent(Two(3, 3)).explain("reverse")
    assert "gradient of s0 = " in text
    assert "gradient of s1 = " in text


def test_what_cannot_be_shown():
    with pytest.raises(ValueError, match="'python' is unknown; there are 'step', 'reverse', 'c' and 'cuda'"):
        nn.LSTM(3, 4).explain("python")
