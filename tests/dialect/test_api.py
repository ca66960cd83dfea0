"""PyTorch's names, signatures and behaviours, within this library's scope, against PyTorch itself."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

import tinygrad_rnn
from tests.extras import extra

from . import more_snippets
from .snippets import ARRAYS, LINES

NAMES = {
    "": """
        Tensor Size device dtype float float16 float32 float64 double half int int8 int16 int32
        int64 long short uint8 bool inf nan pi e tensor as_tensor from_numpy zeros ones full arange
        linspace empty eye rand randn randint randperm normal bernoulli zeros_like ones_like
        full_like empty_like rand_like randn_like abs exp log log1p expm1 sqrt sign tanh sigmoid
        relu sin cos pow maximum minimum clip clamp where square reciprocal rsqrt floor round neg
        add sub mul div subtract multiply divide true_divide remainder erf matmul mm bmm mv dot
        outer einsum sum mean var std max min prod cumsum logsumexp argmax argmin amax amin norm all
        any reshape transpose permute swapaxes squeeze unsqueeze broadcast_to flatten flip concat
        cat stack split chunk unbind tile repeat_interleave t gather index_select masked_fill
        masked_select select narrow softmax log_softmax topk sort argsort multinomial nonzero isnan
        isinf isfinite eq ne lt le gt ge logical_and logical_or logical_not equal allclose isclose
        is_tensor is_floating_point numel clone no_grad enable_grad inference_mode set_grad_enabled
        is_grad_enabled manual_seed get_rng_state set_rng_state Generator set_default_dtype
        get_default_dtype save load nn optim utils cuda
    """,
    "Tensor": """
        T mT data device dtype grad grad_fn is_cuda is_leaf ndim requires_grad shape nbytes size dim
        ndimension numel nelement element_size item tolist numpy detach detach_ clone backward
        retain_grad requires_grad_ is_floating_point is_contiguous contiguous to cpu cuda type
        type_as long int short byte bool float double half view view_as reshape reshape_as flatten
        ravel permute transpose swapaxes t squeeze unsqueeze expand expand_as broadcast_to repeat
        repeat_interleave flip split chunk unbind gather index_select masked_fill masked_select
        select narrow where sort argsort topk nonzero multinomial sum mean var std max min prod
        cumsum logsumexp argmax argmin amax amin norm all any abs exp log log1p expm1 sqrt square
        reciprocal rsqrt sign sin cos tanh sigmoid relu pow add sub mul div subtract multiply divide
        remainder neg maximum minimum clip clamp floor round softmax log_softmax matmul mm bmm mv
        dot outer eq ne lt le gt ge logical_and logical_or logical_not isnan isinf isfinite equal
        allclose isclose add_ sub_ mul_ div_ clamp_ fill_ zero_ copy_ masked_fill_ scatter_ uniform_
        normal_ new_zeros new_ones new_full new_empty new_tensor
    """,
    "nn": """
        Module Parameter Sequential ModuleList ModuleDict ParameterList Linear Embedding Dropout
        LayerNorm Identity Flatten RNN LSTM GRU RNNCell LSTMCell GRUCell Tanh Sigmoid ReLU LeakyReLU
        ELU GELU Softplus Softmax LogSoftmax NLLLoss CrossEntropyLoss MSELoss L1Loss SmoothL1Loss
        HuberLoss BCELoss BCEWithLogitsLoss functional init utils
    """,
    "nn.Module": """
        forward parameters named_parameters children named_children modules named_modules buffers
        named_buffers register_parameter register_buffer register_module add_module state_dict
        load_state_dict train eval to float double half cpu cuda zero_grad apply requires_grad_
        extra_repr
    """,
    "nn.functional": """
        relu leaky_relu elu gelu softplus sigmoid tanh softmax log_softmax linear embedding dropout
        layer_norm normalize cosine_similarity pad one_hot cross_entropy nll_loss mse_loss l1_loss
        smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits
    """,
    "nn.init": """
        uniform_ normal_ zeros_ ones_ constant_ xavier_uniform_ xavier_normal_ kaiming_uniform_
        kaiming_normal_ orthogonal_ calculate_gain
    """,
    "nn.utils": "clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters rnn",
    "nn.utils.rnn": """
        PackedSequence pack_padded_sequence pad_packed_sequence pad_sequence pack_sequence
        unpad_sequence unpack_sequence
    """,
    "optim": "Optimizer SGD RMSprop Adagrad Adam AdamW LBFGS lr_scheduler",
    "optim.Optimizer": "zero_grad step state_dict load_state_dict add_param_group",
    "optim.lr_scheduler": """
        LRScheduler StepLR MultiStepLR ExponentialLR CosineAnnealingLR LambdaLR LinearLR ConstantLR
        SequentialLR OneCycleLR ReduceLROnPlateau
    """,
    "utils.data": """
        Dataset TensorDataset IterableDataset ConcatDataset Subset DataLoader random_split Sampler
        SequentialSampler RandomSampler SubsetRandomSampler WeightedRandomSampler BatchSampler
        default_collate
    """,
    "cuda": "is_available device_count manual_seed manual_seed_all",
}
ALL_NAMES = [(where, name) for where, names in NAMES.items() for name in names.split()]


def find(library, where):
    """What a dotted name means below a library."""
    found = library
    for part in filter(None, where.split(".")):
        if inspect.ismodule(found) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("where", NAMES)
def test_names_are_there(where):
    missing = [name for name in NAMES[where].split() if not hasattr(find(tinygrad_rnn, where), name)]
    assert not missing


@pytest.mark.extras("torch")
@pytest.mark.parametrize("where", NAMES)
def test_names_are_pytorchs(where):
    torch = extra("torch")
    made_up = [name for name in NAMES[where].split() if not hasattr(find(torch, where), name)]
    assert not made_up


@pytest.mark.parametrize("where", ["nn.functional", "nn.utils.rnn", "optim.lr_scheduler", "utils.data"])
def test_modules_can_be_imported_by_name(where):
    assert importlib.import_module(f"tinygrad_rnn.{where}") is find(tinygrad_rnn, where)


# ---------------------------------------------------------------- signatures

# settings of ours, by keyword alone, and `verbose`, which PyTorch had until 2.7
OWN = {"rng", "init", "reset_after", "proj_size", "verbose"}
GONE = {"size_average", "reduce", "_stacklevel"}  # deprecated there: what follows them is given by name
OTHER_NAMES = {"axis": "dim", "keepdims": "keepdim", "x": "input"}  # these are read under either name
NOT_COMPARED = {
    "no_grad": "used with empty parentheses, or none",
    "enable_grad": "used with empty parentheses, or none",
    "inference_mode": "used with empty parentheses, or none",
    "nn.Module.named_modules": "PyTorch's first argument is its own business",
    "nn.Parameter": "PyTorch's may be empty",
    "nn.utils.rnn.PackedSequence": "made by pack_padded_sequence, never by hand",
}


def callables():
    for where, name in ALL_NAMES:
        path = f"{where}.{name}".lstrip(".")
        ours = getattr(find(tinygrad_rnn, where), name, None)
        comparable = inspect.isclass(ours) or (callable(ours) and where not in ("", "Tensor"))
        if comparable and path not in NOT_COMPARED:
            yield path


def parameters(function):
    """The arguments by name, or None where a function is not written in Python or takes anything."""
    try:
        found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    except (TypeError, ValueError):
        return None
    return None if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found) else found


def same_default(ours, theirs):
    plain_value = theirs.default is None or isinstance(theirs.default, (bool, int, float, str, tuple))
    return not plain_value or ours.default == theirs.default or {ours.default, theirs.default} == {(), None}


@pytest.mark.extras("torch")
@pytest.mark.parametrize("path", list(callables()))
def test_signatures_are_pytorchs(path):
    torch = extra("torch")
    ours, theirs = parameters(find(tinygrad_rnn, path)), parameters(find(torch, path))
    if not ours or not theirs:
        return  # the behaviours below say what there is to say
    known = {p.name: p for p in theirs}
    positional = [p.name for p in theirs if p.kind is not p.KEYWORD_ONLY]
    for place, p in enumerate(ours):
        name = p.name if p.name in known else OTHER_NAMES.get(p.name, p.name)
        if name in OWN and name not in known:
            assert p.kind is p.KEYWORD_ONLY, f"{name} is ours alone and stands among the positional arguments"
            continue
        assert name in known, f"PyTorch has no argument {name}"
        assert same_default(p, known[name]), f"{name} has another default"
        if p.kind is not p.KEYWORD_ONLY:
            assert positional[place : place + 1] == [name], f"{name} stands at another place"


# ---------------------------------------------------------------- behaviours


def run(line, library):
    names = {"torch": library, "np": np, "nn": library.nn, "F": find(library, "nn.functional")}
    names |= {
        "optim": library.optim,
        "data": find(library, "utils.data"),
        "rnn": find(library, "nn.utils.rnn"),
    }
    names |= {"sched": library.optim.lr_scheduler, "w": library.nn.Parameter(library.ones(2))}
    for name, array in ARRAYS.items():
        names[name] = library.tensor(array.tolist(), dtype=getattr(library, str(array.dtype)))
    *statements, result = line.split("; ")
    exec("; ".join(statements), names)
    return plain(eval(result, names))


def plain(value):
    """A result as plain Python, so that those of the two libraries can be compared."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if hasattr(value, "detach"):
        return {"dtype": plain(value.dtype), "shape": list(value.shape), "values": value.detach().tolist()}
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "values": value.tolist()}
    return str(value).removeprefix("torch.") if "dtype" in type(value).__name__.lower() else value


def assert_equal(ours, theirs):
    if isinstance(theirs, list):
        assert isinstance(ours, list)
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_equal(ours[key], theirs[key])
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


def marked(line):
    """A line that names the host's memory or device has no meaning on another one."""
    of_the_host = any(
        word in line
        for word in ("cpu", "numpy", "np.", "device", "repr", "storage", "data_ptr", "contiguous", "type(")
    )
    return pytest.param(line, marks=[pytest.mark.host] if of_the_host else [])


@pytest.mark.extras("torch")
@pytest.mark.parametrize("line", [marked(line) for line in LINES + more_snippets.LINES])
def test_behaviour_is_pytorchs(line):
    ours = run(line, tinygrad_rnn)
    assert_equal(ours, run(line, extra("torch")))


ERRORS = {
    "torch.outer(x, v)": (ValueError, "outer: expected two vectors"),
    "torch.masked_select(x, k)": (TypeError, "masked_select: the mask must be a tensor of booleans"),
    "x.narrow(0, 2, 2)": (IndexError, "narrow: 2 elements from 2 on are more than axis 0"),
    "x.select(5, 0)": (IndexError, "select: axis 5 does not exist"),
    "x.clone().scatter_(1, k, torch.ones(2))": (ValueError, "scatter_: src has shape"),
    "x.clone().scatter_(0, v.long(), 1)": (ValueError, "scatter_: index of shape"),
    "w.scatter_(0, t, 1)": (RuntimeError, "scatter_: this tensor requires a gradient"),
    "torch.normal(0.0, 1.0)": (TypeError, "normal: give a size"),
    "x.to('mps')": (TypeError, "to: 'mps' is neither a device nor a dtype"),
    "torch.randint(5)": (TypeError, "randint: give a shape last"),
}


@pytest.mark.parametrize("line", ERRORS)
def test_errors(line):
    kind, message = ERRORS[line]
    with pytest.raises(kind, match=message):
        run(line, tinygrad_rnn)


def test_what_is_made_on_a_device_or_in_a_type_stays_there():
    assert run("x.new_zeros(2, device='cpu').device == 'cpu'", tinygrad_rnn)
    assert run("nn.LSTM(4, 5, dtype=torch.float64).cells[0].weight_ih", tinygrad_rnn)["dtype"] == "float64"
