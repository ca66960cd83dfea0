"""Names that say how to compute: they can be imported, called and set; and what is out of scope says so."""

import importlib
import warnings

import numpy as np
import pytest

import tinygrad_rnn as torch
import tinygrad_rnn.backends.cudnn as cudnn
from tinygrad_rnn import deprecation, nn, optim
from tinygrad_rnn.amp import GradScaler, autocast
from tinygrad_rnn.utils.data import DataLoader, TensorDataset


def test_the_head_of_a_script_runs():
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.enabled = True
    cudnn.benchmark = False
    assert torch.backends.cudnn.is_available() is False
    assert not torch.backends.mps.is_available()
    with torch.backends.cudnn.flags(enabled=False):
        pass
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_interop_threads(1)
    assert torch.get_num_threads() >= 1
    torch.set_printoptions(precision=2, sci_mode=False, linewidth=120)
    torch.set_float32_matmul_precision("highest")
    assert torch.get_float32_matmul_precision() == "highest"
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(1)
    torch.cuda.manual_seed_all(1)
    torch.autograd.set_detect_anomaly(False)
    assert isinstance(torch.seed(), int)
    torch.manual_seed(0)
    assert torch.version.cuda is None


@pytest.mark.host
def test_devices_by_default():
    assert torch.get_default_device() == torch.device("cpu")
    torch.set_default_device("cpu")
    assert torch.zeros(1).device.type == "cpu"
    if not torch.cuda.is_available():
        assert torch.accelerator.current_accelerator() is None
        assert not torch.accelerator.is_available()
        assert torch.cuda.memory_reserved() == torch.cuda.max_memory_allocated() == 0
        for call in (torch.cuda.current_device, torch.cuda.get_device_properties):
            with pytest.raises(RuntimeError):
                call()
        assert not torch.cuda.is_initialized()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = torch.cuda.nonsense


def test_compilers_give_back_what_they_are_given():
    net = nn.Linear(2, 2)
    assert torch.compile(net) is net
    assert torch.compile(mode="reduce-overhead")(net) is net
    assert torch.jit.script(net) is net
    assert torch.jit.trace(net, torch.ones(1, 2)) is net

    @torch.jit.script
    def double(x):
        return x * 2

    class Net(torch.jit.ScriptModule):
        @torch.jit.script_method
        def forward(self, x):
            return double(x)

    assert Net()(torch.ones(1)).tolist() == [2.0]
    with pytest.raises(NotImplementedError, match=r"tinygrad_rnn.save"):
        torch.jit.save(net, "net.pt")


PLACES = [
    "autograd",
    "jit",
    "onnx",
    "backends",
    "backends.cudnn",
    "accelerator",
    "amp",
    "linalg",
    "distributions",
    "utils.data",
    "cuda",
]


@pytest.mark.parametrize("name", PLACES)
def test_modules_can_be_imported(name):
    module = importlib.import_module(f"tinygrad_rnn.{name}")
    found = torch
    for part in name.split("."):
        found = getattr(found, part)
    assert found is module


def test_what_is_out_of_scope_says_so_when_it_is_called():
    for name in ("Transformer", "MultiheadAttention", "Conv1d", "EmbeddingBag"):
        made = getattr(nn, name)
        assert isinstance(made, type)
        with pytest.raises(NotImplementedError, match=name):
            made(2, 3)

    class Net(nn.TransformerEncoder):
        pass

    with pytest.raises(NotImplementedError, match="transformers are out"):
        Net()
    with pytest.raises(NotImplementedError, match=r"onnx\.export: .*to_torch"):
        torch.onnx.export(None, None, "x.onnx")
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = nn.Nonsense
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = torch.nonsense


def test_mixed_precision_changes_nothing_on_the_cpu():
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scaler = GradScaler(enabled=False)
    with autocast("cuda", dtype=torch.float16), torch.cuda.amp.autocast(), torch.autocast("cpu"):
        loss = net(torch.ones(3, 2)).sum()
    assert loss.dtype == torch.float32
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def test_loaders_take_workers_with_one_warning():
    deprecation.mentioned.discard("num_workers")
    data = TensorDataset(torch.arange(4))
    with pytest.warns(UserWarning, match="num_workers=2 is read and has no effect"):
        loader = DataLoader(data, batch_size=2, num_workers=2, pin_memory=True, persistent_workers=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataLoader(data, num_workers=4, prefetch_factor=2, worker_init_fn=print, timeout=3)
    assert [b.tolist() for (b,) in loader] == [[0, 1], [2, 3]]
    assert loader.num_workers == 2


@pytest.mark.host
def test_tensors_are_told_where_to_lie():
    x = torch.ones(2)
    assert x.pin_memory() is x
    assert x.to("cpu", non_blocking=True) is x
    assert x.cpu() is x
    assert not x.is_pinned()
    assert x.share_memory_() is x
    assert x.get_device() in (-1, 0)


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, 0.1, foreach=True, fused=False),
    lambda p: optim.Adam(p, foreach=False, capturable=False, fused=None),
    lambda p: optim.AdamW(p, fused=True, differentiable=False),
    lambda p: optim.RMSprop(p, foreach=True, capturable=False),
    lambda p: optim.Adagrad(p, foreach=None, fused=None),
])  # fmt: skip
def test_optimisers_take_choices_of_speed(make):
    w = nn.Parameter(torch.ones(2))
    optimizer = make([w])
    w.sum().backward()
    optimizer.step()
    assert "foreach" not in optimizer.param_groups[0]
    assert (w.detach().numpy() < 1).all()


def test_what_types_hold():
    assert torch.finfo(torch.float32).max == float(np.finfo(np.float32).max)
    assert torch.finfo().eps == torch.finfo(torch.float32).eps == 2.0**-23
    assert torch.finfo(torch.float64).tiny > 0
    assert torch.finfo(torch.float16).bits == 16
    assert torch.iinfo(torch.int64).max == 2**63 - 1
    assert torch.iinfo(torch.uint8).min == 0
    with pytest.raises(TypeError, match="iinfo says what integers hold"):
        torch.finfo(torch.int64)


def test_a_star_import_shadows_nothing():
    import builtins

    taken = {}
    exec("from tinygrad_rnn import *", taken)
    assert not (set(taken) & set(vars(builtins)) - {"__builtins__"})
    assert {"tensor", "Tensor", "nn", "no_grad"} <= set(taken)
