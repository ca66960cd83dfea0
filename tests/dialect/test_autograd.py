"""`torch.autograd`: Variable, grad, backward, functions with a backward of their own, checks."""

import numpy as np
import pytest

import tinygrad_rnn as torch
from tinygrad_rnn import autograd
from tinygrad_rnn.autograd import Function, Variable, gradcheck, gradgradcheck


def test_variables_are_tensors():
    x = torch.ones(2)
    v = Variable(x, requires_grad=True)
    assert isinstance(v, Variable)
    assert isinstance(x, Variable)
    assert isinstance(v, torch.Tensor)
    assert v.requires_grad
    assert not x.requires_grad
    v.data[0] = 5
    assert x.tolist() == [5, 1]  # the same memory
    y = v * 2
    assert not Variable(y).requires_grad
    assert torch.autograd.Variable is Variable
    with pytest.warns(UserWarning, match="volatile has no effect"):
        Variable(x, volatile=True)
    with pytest.raises(TypeError, match="Variable: expected a tensor, got a list"):
        Variable([1.0])


def test_grad_gives_a_tuple():
    x, w = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    y = (x * w).sum()
    (g,) = autograd.grad(y, x, retain_graph=True)
    assert g.tolist() == [3, 4]
    gx, gw = autograd.grad(y, [x, w], create_graph=True)
    assert gw.tolist() == [1, 2]
    assert gx.requires_grad
    (gg,) = autograd.grad(gx.sum(), w)
    assert gg.tolist() == [1, 1]
    (g,) = autograd.grad(x * w, x, grad_outputs=torch.tensor([1.0, 0.5]))
    assert g.tolist() == [3, 2]
    (g,) = autograd.grad(outputs=[(x * 2).sum(), (x * 3).sum()], inputs=x)
    assert g.tolist() == [5, 5]
    assert autograd.grad(x.sum(), [x, w], allow_unused=True)[1] is None
    assert autograd.grad(x.sum(), [x, w], materialize_grads=True)[1].tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="does not depend on one of the inputs"):
        autograd.grad(x.sum(), [w])
    assert x.grad is None
    assert w.grad is None


def test_backward_of_several():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    autograd.backward([x.sum(), (x * x).sum()])
    assert x.grad.tolist() == [3, 5]
    autograd.backward(x * 2, torch.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [5, 25]
    w = torch.ones(2, requires_grad=True)
    autograd.backward([(x * w).sum(), w.sum()], inputs=[w])
    assert w.grad.tolist() == [2, 3]
    assert x.grad.tolist() == [5, 25]
    with pytest.raises(RuntimeError, match="1 gradients for 2 tensors"):
        autograd.backward([x.sum(), x.sum()], [torch.tensor(1.0)])


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Scale(Function):
    """Two arguments, one of them no tensor; and a gradient only where it is asked for."""

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        assert ctx.needs_input_grad == (True, False)
        return g.neg() * ctx.alpha, None


class SumAndDifference(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b, a - b

    @staticmethod
    def backward(ctx, of_sum, of_difference):
        return of_sum + of_difference, of_sum - of_difference


class Straight(Function):
    """Rounded forward, the identity back."""

    @staticmethod
    def forward(x):
        return (x > 0.5).float()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx, g):
        assert g.shape == ctx.shape
        return g


def test_functions_of_ones_own():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = Cube.apply(x)
    assert y.grad_fn.name() == "Cube"
    y.sum().backward()
    assert x.grad.tolist() == [3, 12]
    (g,) = autograd.grad(Exp.apply(x).sum(), x)
    np.testing.assert_allclose(g.numpy(), np.exp([1, -2]), rtol=1e-6)
    (g,) = autograd.grad(Scale.apply(x, 0.5).sum(), x)
    assert g.tolist() == [-0.5, -0.5]
    a, b = SumAndDifference.apply(x, x * 2)
    (g,) = autograd.grad((a + 3 * b).sum(), x)
    assert g.tolist() == [0, 0]
    (g,) = autograd.grad(SumAndDifference.apply(x, x)[0].sum(), x)  # the other gradient comes as zeros
    assert g.tolist() == [2, 2]
    (g,) = autograd.grad(Straight.apply(x).sum(), x)
    assert g.tolist() == [1, 1]
    with torch.no_grad():
        assert not Cube.apply(x).requires_grad
    assert not Cube.apply(x.detach()).requires_grad


def test_functions_have_gradients_of_gradients():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    for function, second in ((Cube, [6.0, -12.0]), (Exp, np.exp([1, -2]))):
        (g,) = autograd.grad(function.apply(x).sum(), x, create_graph=True)
        (gg,) = autograd.grad(g.sum(), x)
        np.testing.assert_allclose(gg.numpy(), second, rtol=1e-6)


def test_functions_are_told_of_changes():
    x = torch.ones(2, requires_grad=True) * 1
    y = Cube.apply(x)
    x += 1
    with pytest.raises(RuntimeError, match="changed in place since"):
        y.sum().backward()

    class Short(Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, g):
            return g

    a = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="backward returned 1 gradients"):
        Short.apply(a, a).sum().backward()


def test_gradcheck():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(Cube.apply, (x,))
    assert gradcheck(torch.tanh, x, eps=1e-6, atol=1e-4)
    assert gradgradcheck(Cube.apply, (x,))
    wrong = lambda v: Straight.apply(v)
    assert not gradcheck(wrong, (x,), raise_exception=False)
    with pytest.raises(RuntimeError):
        gradcheck(wrong, (x,))


def test_anomalies_are_detected():
    x = torch.zeros(1, requires_grad=True)
    with np.errstate(all="ignore"), autograd.detect_anomaly(), pytest.raises(FloatingPointError, match="log"):
        torch.log(-1 - x)
    with np.errstate(all="ignore"), autograd.set_detect_anomaly(True), pytest.raises(FloatingPointError):
        torch.log(-1 - x)
    with autograd.set_detect_anomaly(False), np.errstate(all="ignore"):
        torch.log(-1 - x)
