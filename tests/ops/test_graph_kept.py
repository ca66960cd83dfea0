"""No op drops a gradient unsaid: every public function and every method of Tensor either stays in the graph,
with the right gradient to each floating tensor it is given, or stands below with the reason why it does not.
"""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import Tensor, nn, no_grad
from tinygrad_rnn.nn import functional as F
from tinygrad_rnn.testing import gradcheck

X = (0.11 + 0.07 * np.array([7, 2, 10, 0, 5, 9, 1, 11, 4, 8, 3, 6.0])).reshape(3, 4)  # away from kinks
Y = X[::-1, ::-1] + 1.0
LOWER = np.array([0.0, 0.3, 0.0, 0.3])
CLASSES = np.array([2, 0, 3])
ROWS = np.array([[0, 2, 1, 0], [1, 0, 2, 2]])
MASK = X > 0.45
SIGNS = np.array([[1, -1, 1, -1]] * 3)

OF_ONE = """
    abs amax amin clone contiguous cos erf exp expm1 flatten floor gelu leaky_relu elu log log1p
    logsumexp max mean min neg norm prod ravel reciprocal relu round rsqrt sigmoid sign sin softplus
    sort sqrt square squeeze std sum t tanh transpose unbind var flip float double half cpu T mT
    __abs__ __neg__ __pos__ __iter__ __copy__
    absolute acos arccos arcsin arctan asin atan ceil celu cosh deg2rad diff dist erfc exp2 fix frac
    hardshrink hardsigmoid hardswish hardtanh log10 log2 logit logsigmoid median mish nan_to_num nanmean
    nansum negative rad2deg relu6 sgn selu silu sinh softmin softshrink softsign tan tanhshrink trace tril
    triu trunc aminmax atleast_1d atleast_2d atleast_3d broadcast_tensors diag diagonal fliplr flipud
    std_mean var_mean mode diag_embed pin_memory
"""
OF_TWO = """
    add sub mul div subtract multiply divide true_divide pow remainder floor_divide maximum minimum
    logaddexp mse_loss l1_loss huber_loss mse l1 huber smooth_l1_loss cosine_similarity __add__
    __sub__ __mul__ __truediv__ __pow__ __mod__ __floordiv__ __radd__ __rsub__ __rmul__ __rtruediv__
    __rpow__ __rmod__ __rfloordiv__ __iadd__ __isub__ __imul__ __itruediv__ view_as reshape_as
    type_as
    atan2 fmod fmax fmin hypot rsub cdist pairwise_distance xlogy kl_div soft_margin_loss
    poisson_nll_loss multilabel_soft_margin_loss
"""
# Arguments by name, for functions and methods alike. Every floating array becomes a leaf.
CALLS = {
    **dict.fromkeys(OF_ONE.split(), (X,)),
    **dict.fromkeys(OF_TWO.split(), (X, Y)),
    **dict.fromkeys(("matmul", "mm", "__matmul__", "__rmatmul__"), (X, Y.T)),
    "bmm": (X[None], Y.T[None]), "dot": (X[0], Y[0]), "mv": (X, Y[0]), "outer": (X[0], Y[1]),
    "addmm": (X[:, :3], X, Y.T), "einsum": ("ij,kj->ik", X, Y), "linear": (X, Y, LOWER[:3]),
    "cat": ([X, Y],), "concat": ([X, Y],), "stack": ([X, Y],),
    "where": (MASK, X, Y), "Tensor.where": (X, MASK, Y),
    "clip": (X, LOWER, Y[0]), "clamp": (X, LOWER, Y[0]),
    "masked_fill": (X, MASK, Y[0, 0]), "masked_select": (X, MASK),
    "broadcast_to": (X, (2, 3, 4)), "expand": (X, 2, -1, 4), "tile": (X, 2, 1), "repeat": (X, 2, 1),
    "repeat_interleave": (X, 2), "reshape": (X, 4, 3), "view": (X, 4, 3), "expand_as": (X[0], Y),
    "permute": (X, 1, 0), "swapaxes": (X, 0, 1), "unsqueeze": (X, 1), "chunk": (X, 2), "split": (X, 2),
    "select": (X, 1, 2), "narrow": (X, 1, 1, 2), "index_select": (X, 1, CLASSES), "cumsum": (X, 1),
    "gather": (X, 0, ROWS), "take_along_axis": (X, ROWS, 0), "topk": (X, 2),
    "softmax": (X, -1), "log_softmax": (X, -1), "pad": (X, [(1, 0), (0, 2)]), "F.pad": (X, (1, 0, 0, 2)),
    "__getitem__": (X, MASK), "embedding": (CLASSES % 3, X),
    "nll_loss": (X, CLASSES, Y[0]), "cross_entropy": (X, CLASSES, Y[0]),
    "binary_cross_entropy": (X, Y - 1.0, X), "binary_cross_entropy_with_logits": (X, Y - 1.0, Y),
    "layer_norm": (X, (4,), Y[0], X[0]), "normalize": (X,),
    "ctc_loss": (np.log(X)[:, None], np.array([[1, 2]]), [3], [2]),
    "masked_mean": (X, [3, 2, 0, 1]), "dropout": (X, 0.0),
    **dict.fromkeys(("addcdiv", "addcmul", "triplet_margin_loss"), (X, Y, X + 1)),
    **dict.fromkeys(("baddbmm", "addmv"), (X[:, :3], X, Y.T)),
    **dict.fromkeys(("inner", "vdot"), (X[0], Y[0])), "ger": (X[0], Y[1]), "chain_matmul": (X, Y.T),
    **dict.fromkeys(("column_stack", "concatenate", "dstack", "hstack", "vstack", "row_stack"), ([X, Y],)),
    **dict.fromkeys(("clamp_min", "clamp_max"), (X, Y[0])), "lerp": (X, Y, 0.3), "asarray": (X,),
    **dict.fromkeys(("cumprod", "cummax", "cummin", "logcumsumexp", "glu"), (X, 1)),
    **dict.fromkeys(("moveaxis", "movedim", "swapdims"), (X, 0, 1)), "kthvalue": (X, 2), "quantile": (X, 0.3),
    **dict.fromkeys(("tensor_split", "hsplit", "vsplit"), (X, 2)), "split_with_sizes": (X, [1, 2]),
    "roll": (X, 1, 0), "rot90": (X,), "unflatten": (X, 1, (2, 2)), "unfold": (X, 1, 2, 1),
    "meshgrid": (X[0], Y[0]), "cartesian_prod": (X[0], Y[0]), "diagflat": (X[0],), "tensordot": (X, Y.T, 1),
    "scatter": (X, 0, ROWS, Y), "scatter_add": (X, 0, ROWS, Y), "take_along_dim": (X, ROWS, 0),
    "index_add": (X, 0, CLASSES % 3, Y), "index_copy": (X, 0, np.array([2, 0, 1]), Y),
    "index_fill": (X, 0, np.array([1]), 3.0), "Tensor.index_put": (X, (np.array([1]),), Y[0]),
    "masked_scatter": (X, MASK, Y), "take": (X, CLASSES), "sum_to_size": (X, 1, 4), "prelu": (X, Y[0]),
    "threshold": (X, 0.5, 0.1), "rms_norm": (X, (4,)), "hinge_embedding_loss": (X, SIGNS),
    "batch_norm": (X, None, None, Y[0], X[0], True), "cosine_embedding_loss": (X, Y, np.array([1, -1, 1])),
    "margin_ranking_loss": (X, Y, np.ones((3, 4), int)), "gaussian_nll_loss": (X, Y, X),
    "dist": (X, Y), "to": (X, "float32"), "type": (X, "float32"), "astype": (X, "float32"),
}  # fmt: skip

INDICES = """
    argmax argmin argsort nonzero multinomial one_hot long int short byte char argwhere count_nonzero
"""  # integers
TRUTHS = """
    all any allclose equal isclose isfinite isinf isnan eq ne lt le gt ge logical_and logical_not
    logical_or bool
    not_equal less less_equal greater greater_equal logical_xor isneginf isposinf
"""
COMPARISONS = """
    allclose equal isclose eq ne lt le gt ge logical_and logical_or not_equal less less_equal greater
    greater_equal logical_xor
"""
OTHERS = {
    "truth values and bits": """
        is_floating_point is_tensor is_contiguous sequence_mask __eq__ __ne__ __lt__ __le__ __gt__
        is_complex is_nonzero is_same_size is_signed bitwise_and bitwise_not bitwise_or bitwise_xor
        is_cpu is_inference is_meta is_mkldnn is_mps is_nested is_pinned is_quantized is_shared is_sparse
        is_xla is_xpu __ge__ __and__ __or__ __xor__ __rand__ __ror__ __rxor__ __invert__ __contains__ __bool__
""",
    "leaves the graph by its very purpose, and says so": """
        detach detach_ data item numpy tolist __array__ __float__ __int__ __index__ __format__
        __repr__ __deepcopy__
""",
    "is given a shape, numbers or plain data, and warns of anything else": """
        arange empty empty_like eye from_numpy full full_like linspace ones ones_like zeros
        logspace range scalar_tensor empty_strided new zeros_like tensor as_tensor new_empty new_full
        new_ones new_tensor new_zeros
""",
    "counts, finds or names places": """
        bincount bucketize histc searchsorted unique unique_consecutive tril_indices triu_indices isin
""",
    "draws by chance": """
        gumbel_softmax
        bernoulli normal rand rand_like randint randn randn_like randperm poisson randint_like
""",
    "says something about a tensor": """
        data_ptr get_device itemsize name output_nr retains_grad storage_offset stride typename result_type
        promote_types numel nelement dim ndimension size element_size shape ndim dtype device nbytes is_cuda
        is_leaf grad grad_fn requires_grad array vertex __len__ __hash__ frozen view_of viewed
""",
    "changes a tensor in place, which gradients go back through (below, and in engine/test_in_place.py)": """
        add_ sub_ mul_ div_ clamp_ fill_ zero_ copy_ masked_fill_ scatter_ uniform_ normal_
        __setitem__ abs_ addcdiv_ addcmul_ addmm_ apply_ bernoulli_ ceil_ clamp_max_ clamp_min_ clip_ cos_
        cumsum_ divide_ erf_ exp_ expm1_ exponential_ fill_diagonal_ floor_ index_add_ index_copy_
        index_fill_ index_put_ lerp_ log1p_ log_ masked_scatter_ multiply_ neg_ pow_ random_ reciprocal_
        relu_ remainder_ resize_ resize_as_ round_ rsqrt_ scatter_add_ set_ share_memory_ sigmoid_ sign_
        sin_ sqrt_ square_ squeeze_ subtract_ swapaxes_ swapdims_ t_ tanh_ transpose_ tril_ triu_
        true_divide_ trunc_ unsqueeze_ __ipow__
""",
    "goes to a GPU": "cuda",
    "takes a function over time (fuse/test_scan.py)": "scan",
    "is a switch, or makes something else than a tensor": """
        current_backend default_dtype default_rng fit get_default_dtype get_rng_state set_rng_state
        native set_num_threads
        is_grad_enabled load save manual_seed pointwise primitive set_default_dtype backward
        are_deterministic_algorithms_enabled compile get_default_device get_float32_matmul_precision
        get_num_interop_threads get_num_threads initial_seed seed set_default_device
        set_default_tensor_type set_deterministic_debug_mode set_float32_matmul_precision
        set_flush_denormal set_num_interop_threads set_printoptions set_warn_always
        use_deterministic_algorithms in_place_of register_post_accumulate_grad_hook
        retain_grad register_hook requires_grad_ check_probability __reduce_ex__ result
""",
}
WITHOUT = {*INDICES.split(), *TRUTHS.split(), *(name for names in OTHERS.values() for name in names.split())}
IN_PLACE = {"__iadd__", "__isub__", "__imul__", "__itruediv__"}
IGNORED = {
    "type_as",
    "view_as",
    "reshape_as",
    "expand_as",
}  # take a shape or a type from their second argument
NO_METHODS = {"__annotations__", "__array_priority__", "__array_ufunc__", "__doc__", "__init__", "__module__",
              "__slots__", "__weakref__"}  # fmt: skip


def public_functions(module):
    for name in dir(module):
        function = getattr(module, name)
        ours = getattr(function, "__module__", "") or ""
        if name.startswith("_") or not callable(function) or inspect.isclass(function):
            continue
        if ours.startswith("tinygrad_rnn") and (
            module is tg or ours.startswith(("tinygrad_rnn.ops", F.__name__))
        ):
            yield name


def everything():
    found = [("tg", name) for name in public_functions(tg)]
    found += [("F", name) for name in public_functions(F) if name != "kept_elements"] + [("F", "ctc_loss")]
    methods = {n for n in dir(Tensor) if not n.startswith("_")} | {
        n for kind in Tensor.__mro__[:-1] for n in vars(kind) if n.startswith("__")
    }
    return found + [("Tensor", name) for name in sorted(methods - NO_METHODS)]


def arguments_of(where, name):
    return CALLS.get(f"{where}.{name}", CALLS.get(name))


KEPT = [key for key in everything() if arguments_of(*key) is not None and key[1] not in WITHOUT]


def test_every_function_and_method_is_kept_or_has_a_reason():
    names = {f"{where}.{name}" for where, name in everything()}
    assert len(names) > 350
    unknown = {f"{w}.{n}" for w, n in everything() if arguments_of(w, n) is None and n not in WITHOUT}
    assert unknown == set(), "give arguments in CALLS, or a reason"
    mentioned = {n.rpartition(".")[2] for n in CALLS} | WITHOUT
    assert mentioned - {n for _, n in everything()} == set(), "there is no such function or method"


def is_floating(value):
    return isinstance(value, (np.ndarray, np.floating)) and value.dtype.kind == "f"


def leaves_in(value):
    if isinstance(value, list):
        return [x for part in value for x in leaves_in(part)]
    return [value] if is_floating(value) else []


def filled(value, leaves):
    """The argument with tensors in place of arrays: the next of the leaves for floating ones."""
    if isinstance(value, list) and leaves_in(value):
        return [filled(part, leaves) for part in value]
    if is_floating(value):
        return next(leaves)
    return tg.tensor(value) if isinstance(value, np.ndarray) else value


def flat(results):
    if isinstance(results, (list, tuple)) or hasattr(results, "__next__"):
        return [y for part in results for y in flat(part)]
    return [results]


def call(where, name, arguments):
    if where == "Tensor":
        found = inspect.getattr_static(Tensor, name)
        if isinstance(found, property):
            return getattr(arguments[0], name)
        return getattr(Tensor, name)(*arguments)
    return getattr(tg if where == "tg" else F, name)(*arguments)


@pytest.mark.parametrize(("where", "name"), KEPT, ids=[".".join(key) for key in KEPT])
def test_it_stays_in_the_graph(where, name):
    given = arguments_of(where, name)
    values = [x for value in given for x in leaves_in(value)]
    assert values

    def run(*leaves):
        following = iter(leaves)
        results = flat(call(where, name, [filled(value, following) for value in given]))
        floating = [y for y in results if y.is_floating_point()]
        assert floating
        return [y.double() for y in floating]

    if name in IN_PLACE:  # the tensor that is changed is a constant
        values, whole = values[1:], run

        def run(*leaves):
            return whole(tg.tensor(X), *leaves)

    leaves = [tg.tensor(np.asarray(v), dtype="float64", requires_grad=True) for v in values]
    for y in run(*leaves):
        assert y.requires_grad, "a result has left the graph"
    found = tg.grad([y.sum() for y in run(*leaves)], leaves, allow_unused=True)
    dropped = [i for i, g in enumerate(found) if g is None]
    assert dropped == [1] * (name in IGNORED)
    if name not in ("float", "half", "to", "type", "astype") and not dropped:
        gradcheck(run, *[x.detach() for x in leaves], order=1)


@pytest.mark.parametrize("name", [*INDICES.split(), *TRUTHS.split()])
def test_what_has_no_gradient_is_not_floating(name):
    x = tg.tensor(CLASSES if name == "one_hot" else X, requires_grad=name != "one_hot")
    second = {"multinomial": (2,), **dict.fromkeys(COMPARISONS.split(), (tg.tensor(Y),))}.get(name, ())
    function = getattr(Tensor, name) if hasattr(Tensor, name) else getattr(tg, name)
    for y in flat(function(x, *second)):
        assert isinstance(y, bool) or y.dtype.kind in "iub"


def leaf():
    return tg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize("make", [
    lambda: tg.tensor(leaf()), lambda: tg.tensor([*leaf()]), lambda: tg.tensor([[*leaf()], [*leaf()]]),
    lambda: tg.as_tensor([*leaf()]), lambda: Tensor(leaf()), lambda: leaf().new_tensor(leaf()),
    lambda: tg.full((2,), leaf()[0]), lambda: leaf().new_full((2,), leaf()[1]),
    lambda: tg.full_like(leaf(), leaf()[0]), lambda: tg.linspace(0, leaf()[0], 3),
    lambda: tg.normal(leaf(), 1.0),
])  # fmt: skip
def test_a_constant_made_of_what_requires_a_gradient_says_so(make):
    with pytest.warns(UserWarning, match="requires a gradient, and its values alone are copied"):
        made = make()
    assert not made.requires_grad
    with no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        make()


# A change of two ones by v = 2: what comes of it, and the derivatives of that with respect to v.
CHANGES = [
    (lambda x, v: x.add_(v), [3.0, 3.0], [1.0, 1.0]),
    (lambda x, v: x.add_(1.0, alpha=v), [3.0, 3.0], [1.0, 1.0]),
    (lambda x, v: x.sub_(tg.ones(2), alpha=v), [-1.0, -1.0], [-1.0, -1.0]),
    (lambda x, v: x.sub_(v, alpha=v), [-3.0, -3.0], [-4.0, -4.0]),  # x - v * v
    (lambda x, v: x.mul_(v), [2.0, 2.0], [1.0, 1.0]),
    (lambda x, v: x.div_(v), [0.5, 0.5], [-0.25, -0.25]),
    (lambda x, v: x.fill_(v), [2.0, 2.0], [1.0, 1.0]),
    (lambda x, v: x.copy_(v), [2.0, 2.0], [1.0, 1.0]),
    (lambda x, v: x.clamp_(v), [2.0, 2.0], [1.0, 1.0]),
    (lambda x, v: x.clamp_(max=v), [1.0, 1.0], [0.0, 0.0]),
    (lambda x, v: x.clamp_(max=v / 4), [0.5, 0.5], [0.25, 0.25]),
    (lambda x, v: x.masked_fill_(x > 0, v), [2.0, 2.0], [1.0, 1.0]),
    (lambda x, v: x.scatter_(0, tg.tensor([1]), tg.zeros(1) + v), [1.0, 2.0], [0.0, 1.0]),
    (lambda x, v: x.__setitem__(0, v), [2.0, 1.0], [1.0, 0.0]),
]


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize(("change", "values", "derivatives"), CHANGES)
def test_memory_takes_values_that_require_a_gradient(change, values, derivatives, device):
    """Also those without axes on the host, beside a tensor on a GPU."""
    x, v = tg.ones(2), tg.tensor(2.0, device=device, requires_grad=True)
    change(x, v)
    assert x.tolist() == values
    (x * tg.tensor([1.0, 10.0])).sum().backward()
    assert v.grad.item() == derivatives[0] + 10 * derivatives[1]
    assert v.grad.device == v.device
    y = tg.ones(2)
    with no_grad():
        change(y, v)
    assert y.tolist() == values
    assert not y.requires_grad


def test_parameters_are_leaves():
    x = leaf()
    assert nn.Parameter(x * 2).is_leaf


def test_a_remainder():
    x = tg.tensor([5.5, -5.5, 7.0], requires_grad=True)
    (x % 2.5 + x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    y = tg.tensor([2.0, 2.0, -3.0], requires_grad=True)
    (x.detach() % y).backward(tg.tensor([1.0, 10.0, 1.0]))
    assert y.grad.tolist() == [-2.0, 30.0, 3.0]  # -floor(x / y) * g
    z = tg.tensor([2.5, -2.0, 4.0], requires_grad=True)
    (7.5 % z).sum().backward()
    assert z.grad.tolist() == [-3.0, 4.0, -1.0]


@pytest.mark.parametrize("op", [tg.floor, tg.round, tg.sign, lambda x: x // 2.0, lambda x: 7.0 // x])
def test_steps_have_the_gradient_zero(op):
    x = tg.tensor([0.3, -1.7, 2.4], requires_grad=True)
    op(x).backward(tg.tensor([1.0, float("inf"), float("nan")]))
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


@tg.pointwise
def stepping(a, b):
    return (
        a % b
        + 7.0 % a
        + tg.floor(a) * b
        + tg.sign(a) * a
        + (a // b) * b
        + (5.0 // b) * a
        + a**b
        + tg.round(a)
    )


def test_steps_inside_a_fused_function():
    found = []
    for mode in (tg.enable_grad, tg.eager):
        a, b = (tg.tensor(v, requires_grad=True) for v in ([1.3, 2.7, 0.4], [0.7, 1.9, -1.6]))
        with mode():
            first = tg.grad(stepping(a, b).sum(), (a, b), create_graph=True)
            second = tg.grad((first[0] * first[1]).sum(), (a, b))
        found.append([g.detach().numpy() for g in (*first, *second)])
    np.testing.assert_allclose(*found, rtol=1e-5)
