"""What is said to those who give one thing in another's place: one sentence that names what does it."""

import errno
import os
import pickle
import re
import tempfile
import zipfile

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn, optim, viz
from tinygrad_rnn.data import DataLoader, TensorDataset
from tinygrad_rnn.io import atomic
from tinygrad_rnn.training.history import History

F = nn.functional
NET = nn.Linear(2, 3)
MAKES = r"; tinygrad_rnn\.tensor\(\.\.\.\) makes a tensor of it"


def new_optimizer():
    return optim.Adam(NET.parameters())


def raises(call, *sentences, kind=Exception):
    """Runs what must fail in one short sentence that has all of these in it."""
    with pytest.raises(kind) as caught:
        call()
    said = caught.value.args[0]
    assert isinstance(said, str)
    assert "\n" not in said
    for sentence in sentences:
        assert re.search(sentence, said), said
    return said


class Foreign:
    """An array of another library, as far as we can see it."""

    __module__ = "torch"
    shape, ndim, dtype = (2, 3), 2, "torch.float32"

    def __array__(self, dtype=None, copy=None):
        return np.ones((2, 3), "float32")


Foreign.__name__ = "Tensor"
NOT_TENSORS = [
    (np.ones((2, 3), "float32"), r"a numpy\.ndarray", True),
    (Foreign(), r"a torch\.Tensor", True),
    ([1.0, 2.0], "a list", True),
    ((1, 2), "a tuple", True),
    (None, "a NoneType", False),
    ("text", "a str", False),
    (len, "a builtin_function_or_method", False),
]
X, LABELS = tg.ones(2, 3), tg.tensor([1, 2])
NEED_TENSORS = {
    "Linear": lambda x: nn.Linear(3, 2)(x),
    "LSTM": lambda x: nn.LSTM(3, 4)(x),
    "RNN": lambda x: nn.RNN(3, 4)(x),
    "GRU": lambda x: nn.GRU(3, 4)(x),
    "GRUCell": lambda x: nn.GRUCell(3, 4)(x),
    "Sequential": lambda x: nn.Sequential(nn.Linear(3, 2))(x),
    "MeanPool": lambda x: nn.MeanPool()(x),
    "dropout": lambda x: F.dropout(x, 0.5),
    "TensorDataset": lambda x: TensorDataset(x),
    "TensorDataset, second": lambda x: TensorDataset(tg.ones(2, 3), x),
    "SGD": lambda x: optim.SGD([x], lr=0.1),
    "pad_sequence": lambda x: nn.utils.rnn.pad_sequence([x]),
    "ctc targets": lambda x: F.ctc_loss(tg.ones(5, 1, 3), x, [5], [1]),
}
TAKE_ARRAYS = {
    "tanh": tg.tanh,
    "add": lambda x: X + x,
    "add, first": lambda x: x + X,
    "matmul": lambda x: X @ x,
    "softmax": lambda x: tg.softmax(x, -1),
    "sum": tg.sum,
    "stack": lambda x: tg.stack([X, x]),
    "concat": lambda x: tg.cat([X, x]),
    "embedding": lambda x: F.embedding(x, X),
    "mse_loss": lambda x: F.mse_loss(x, X),
    "mse_loss, target": lambda x: F.mse_loss(X, x),
    "cross_entropy": lambda x: F.cross_entropy(X, x),
    "nll_loss": lambda x: F.nll_loss(X, x),
    "where": lambda x: tg.where(X > 0, X, x),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
}


@pytest.mark.host
@pytest.mark.parametrize(("value", "name", "is_data"), NOT_TENSORS, ids=[case[1] for case in NOT_TENSORS])
@pytest.mark.parametrize("call", NEED_TENSORS.values(), ids=NEED_TENSORS.keys())
def test_what_is_no_tensor(call, value, name, is_data):
    raises(lambda: call(value), name, f"{MAKES}|without names" if is_data else "", kind=TypeError)


@pytest.mark.host
@pytest.mark.parametrize(("value", "name", "is_data"), NOT_TENSORS[1:], ids=[c[1] for c in NOT_TENSORS[1:]])
@pytest.mark.parametrize("call", TAKE_ARRAYS.values(), ids=TAKE_ARRAYS.keys())
def test_what_is_neither_tensor_nor_array(call, value, name, is_data):
    raises(lambda: call(value), name, MAKES if is_data else "", kind=TypeError)


x = tg.tensor([1.0, 2.0], requires_grad=True)
WRONG_PLACES = {
    "grad(f, x)": (
        lambda: tg.grad(lambda v: v.sum(), x),
        r"got a function; call it first: .*grad\(f\(x\), x\)",
    ),
    "grad(y, f)": (lambda: tg.grad(x.sum(), len), r"inputs must be a tensor .*call it first"),
    "grad(number, x)": (lambda: tg.grad(3.0, x), "output must be a tensor or a list of tensors, got a float"),
    "grad(y, array)": (lambda: tg.grad(x.sum(), np.ones(2)), r"inputs must be .* got a numpy\.ndarray"),
    "grad(y, [array])": (lambda: tg.grad(x.sum(), [np.ones(2)]), r"inputs must be .* got a numpy\.ndarray"),
    "grad(y, module)": (lambda: tg.grad(x.sum(), NET), r"got a Linear; give list\(module\.parameters\(\)\)"),
    "grad(y, dict)": (lambda: tg.grad(x.sum(), {"a": x}), r"got a dict; give list\(d\.values\(\)\)"),
    "grad(y, None)": (
        lambda: tg.grad(x.sum(), None),
        "inputs must be a tensor or a list of tensors, got a None",
    ),
    "seeds": (lambda: tg.grad([x.sum(), x.sum()], x, [None]), "grad_output has 1 entries for 2 outputs"),
    "backward inputs": (lambda: x.sum().backward(inputs=[3]), "backward: inputs must be .* got a int"),
    "SGD(lr, params)": (
        lambda: optim.SGD(0.1, NET.parameters()),
        "SGD: params must be a list of tensors, got a float; the parameters come first, then lr",
    ),
    "Adam(lr, params)": (lambda: optim.Adam(1, NET.parameters()), "Adam: .*the parameters come first"),
    "SGD(net)": (lambda: optim.SGD(NET, 0.1), r"got a Linear; model\.parameters\(\) gives them"),
    "SGD(net.parameters)": (lambda: optim.SGD(NET.parameters, 0.1), r"got a method; model\.parameters\(\) g"),
    "SGD(state_dict)": (lambda: optim.SGD(NET.state_dict(), 0.1), r"got a dict; model\.parameters\(\) gives"),
    "SGD(params, params)": (
        lambda: optim.SGD(NET.parameters(), NET.parameters()),
        "lr must be at least 0, got .*a generator is no number, and the parameters come first",
    ),
    "SGD(params, '0.1')": (lambda: optim.SGD(NET.parameters(), "0.1"), r"got 0\.1; a str is no number$"),
    "SGD(params, None)": (lambda: optim.SGD(NET.parameters(), None), "got None; a NoneType is no number$"),
    "StepLR(net)": (lambda: optim.lr_scheduler.StepLR(NET, 3), "expected an optimiser, got a Linear"),
    "StepLR(o, '3')": (
        lambda: optim.lr_scheduler.StepLR(new_optimizer(), "3"),
        "step_size must be an integer",
    ),
    "StepLR(o, 2.5)": (lambda: optim.lr_scheduler.StepLR(new_optimizer(), 2.5), r"integer, got 2\.5"),
    "MultiStepLR": (lambda: optim.lr_scheduler.MultiStepLR(new_optimizer(), [1, 2.5]), r"milestone .* 2\.5"),
    "CosineAnnealingLR": (
        lambda: optim.lr_scheduler.CosineAnnealingLR(new_optimizer(), 9.5),
        r"T_max .* 9\.5",
    ),
    "LinearLR": (
        lambda: optim.lr_scheduler.LinearLR(new_optimizer(), total_iters=2.5),
        "total_iters must be an",
    ),
    "OneCycleLR": (
        lambda: optim.lr_scheduler.OneCycleLR(new_optimizer(), 1, 9.5),
        "total_steps must be an int",
    ),
    "DataLoader(x, y)": (
        lambda: DataLoader(tg.ones(4), tg.ones(4)),
        r"batch_size .* got float32 \(4,\); TensorDataset\(x, y\) makes one dataset",
    ),
    "DataLoader(0-d)": (lambda: DataLoader(tg.tensor(1.0)), "a tensor without axes"),
    "DataLoader(dict)": (lambda: DataLoader({"a": tg.ones(3)}), r"a dict has no numbered samples; give list"),
    "DataLoader(None)": (lambda: DataLoader(None), "the dataset, a NoneType, has no length"),
    "TensorDataset(0-d)": (lambda: TensorDataset(tg.tensor(1.0)), "must have at least one axis"),
    "a state": (
        lambda: nn.GRU(3, 4)(tg.ones(2, 1, 3), np.ones((1, 1, 4))),
        r"GRU: state must be a Tensor, got a numpy\.ndarray" + MAKES,
    ),
    "a state of one sequence": (
        lambda: nn.GRU(3, 4)(tg.ones(2, 3), np.ones((1, 4))),
        r"GRU: state must be a Tensor, got a numpy\.ndarray" + MAKES,
    ),
    "ragged": (
        lambda: tg.tensor([[1, 2], [3]]),
        r"rows of different lengths: shape \(2,\) at \[0\], \(1,\) at \[1\]",
    ),
    "ragged, deep": (
        lambda: tg.tensor([[[1], [2]], [[3], [4, 5]]]),
        r"\(1,\) at \[1\]\[0\], \(2,\) at \[1\]\[1\]",
    ),
    "ragged, number": (lambda: tg.tensor([[1, 2], 3]), r"shape \(2,\) at \[0\], \(\) at \[1\]$"),
    "ragged tensors": (
        lambda: tg.tensor([tg.ones(2), tg.ones(3)]),
        r"\(2,\) at \[0\], \(3,\) at \[1\]; .*pad_",
    ),
    "a string": (lambda: tg.tensor("abc"), "elements must be numbers or booleans, got 'abc'$"),
    "a string inside": (lambda: tg.tensor([[1, 2], [3, "a"]]), r"got 'a' at \[1\]\[1\]$"),
    "None inside": (lambda: tg.tensor([1.0, None]), r"got None at \[1\]$"),
    "a set inside": (lambda: tg.tensor([1, {2}]), r"got a set at \[1\]; make a list of it$"),
    "an object": (lambda: tg.tensor([1, object()]), r"got a object at \[1\]$"),
    "ranges": (lambda: tg.tensor([range(2), range(3)]), r"shape \(2,\) at \[0\], \(3,\) at \[1\]"),
    "a set": (lambda: tg.tensor({1, 2}), "got a set; make a list of it"),
    "a generator": (lambda: tg.tensor(i for i in range(3)), "got a generator; make a list of it"),
    "a dict": (lambda: tg.tensor({"a": 1}), r"got a dict; list\(d\.values\(\)\) are its values"),
    "complex": (lambda: tg.tensor([1j]), r"got a complex at \[0\]"),
    "dates": (lambda: tg.tensor(np.array(["2020-01-01"], "M8[D]")), r"an array of datetime64\[D\]"),
    "objects": (lambda: tg.as_tensor(np.array([1, None], object)), "an array of object"),
    "a huge integer": (lambda: tg.tensor([2**70]), r"no integer type holds at \[0\]; write it as a float"),
    "a dtype of strings": (lambda: tg.zeros(2, dtype="U3"), "'U3' is no dtype"),
    "to strings": (lambda: x.to("S"), "to: 'S' is neither a device nor a dtype"),
    "to objects": (lambda: x.to({}), "to: {} is neither"),
    "complex dtype": (lambda: tg.zeros(2, dtype="complex64"), "'complex64' is no dtype"),
    "reshape('a')": (lambda: x.reshape("a"), "sizes and axes are integers, .* got a str"),
    "reshape(2.0)": (lambda: x.reshape(2.0), r"sizes and axes are integers, .* got 2\.0"),
    "zeros(None)": (lambda: tg.zeros(None), "sizes and axes are integers, .* got a NoneType"),
    "stack(f)": (lambda: tg.stack(len), r"stack: expected a list of tensors, got .*; give stack\(\[a, b\]\)"),
    "cat(None)": (lambda: tg.cat(None), "concat: expected a list of tensors, got a NoneType"),
    "from_numpy(list)": (lambda: tg.from_numpy([1]), "expected a NumPy array, got list" + MAKES),
    "an array for a parameter": (
        lambda: setattr(nn.Linear(2, 2), "weight", np.ones((2, 2))),
        r"weight is a Parameter and cannot become a numpy\.ndarray; assign a Parameter",
    ),
}  # fmt: skip


@pytest.mark.host
@pytest.mark.parametrize(("call", "sentence"), WRONG_PLACES.values(), ids=WRONG_PLACES.keys())
def test_in_anothers_place(call, sentence):
    raises(call, sentence, kind=(TypeError, ValueError))


# ---------------------------------------------------------------- state dicts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tg.save("all.npz", NET, new_optimizer(), epoch=3)
    tg.save("weights.npz", NET.state_dict())
    tg.save("named.npz", net=NET.state_dict())
    return tmp_path


STATES = {
    "all": (lambda: tg.load("all.npz"), r'got all that tinygrad_rnn\.save wrote; give its \["model"\]'),
    "weights": (lambda: tg.load("weights.npz"), r'got all that .*save wrote; give its \["model"\]'),
    "named": (lambda: tg.load("named.npz"), r"a dict of dicts; give its \['net'\]"),
    "PyTorch's habit": (lambda: {"model_state_dict": NET.state_dict()}, r"give its \['model_state_dict'\]"),
    "a path": (lambda: "all.npz", r"the name of a file; tinygrad_rnn\.load\('all\.npz'\)\[\"model\"\]"),
    "a module": (lambda: NET, r"got a Linear; its state_dict\(\) is one"),
    "an optimiser's": (
        lambda: new_optimizer().state_dict(),
        r"state of an optimiser; optimizer\.load_state_d",
    ),
    "nothing": (lambda: None, "expected names and tensors in a dict, got None"),
}


@pytest.mark.parametrize(("given", "sentence"), STATES.values(), ids=STATES.keys())
def test_what_is_no_state_dict(folder, given, sentence):
    before = {name: value.tolist() for name, value in NET.state_dict().items()}
    raises(lambda: NET.load_state_dict(given()), sentence, kind=(TypeError, ValueError))
    raises(lambda: NET.load_state_dict(given(), strict=False), sentence, kind=(TypeError, ValueError))
    assert {name: value.tolist() for name, value in NET.state_dict().items()} == before


def test_what_does_it_does_it(folder):
    NET.load_state_dict(tg.load("all.npz")["model"])
    NET.load_state_dict(tg.load("weights.npz")["model"])
    new_optimizer().load_state_dict(tg.load("all.npz")["optimizer"])
    tg.save(NET.state_dict(), "only.npz")
    NET.load_state_dict(tg.load("only.npz"))
    wrong = NET.load_state_dict({"other": tg.ones(1)}, strict=False)
    assert wrong.unexpected_keys == ["other"]


def test_what_is_no_state_of_an_optimiser(folder):
    for given, sentence in (
        (tg.load("all.npz"), r'got all that .* give its \["optimizer"\]'),
        ("all.npz", r"the name of a file; tinygrad_rnn\.load\('all\.npz'\)\[\"optimizer\"\]"),
        (NET.state_dict(), "got one with 'weight', 'bias'"),
        (NET, "got a Linear"),
        ({}, "got one with nothing in it"),
    ):
        raises(lambda given=given: new_optimizer().load_state_dict(given), sentence, kind=ValueError)


def test_load_torch_names_what_reads(folder):
    for given, sentence in (
        ("w.pt", r"the name of a file, 'w\.pt'; torch\.load\(path, weights_only=True\) reads one"),
        ("m.safetensors", r"load_safetensors\(path\) reads one"),
        (NET, r"got a Linear; its state_dict\(\) is one"),
        (tg.load("all.npz"), r"model is a dict, .* give load_torch the dict in \['model'\]"),
    ):
        raises(lambda given=given: io.load_torch(NET, given), sentence, kind=TypeError)


# ---------------------------------------------------------------- files of others


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


def starting(content):
    return lambda path: path.write_bytes(content)


FILES = {
    "m.safetensors": (
        lambda path: io.save_safetensors(path, NET),
        r"io\.load_safetensors\('.*m\.safetensors'\)",
    ),
    "renamed.bin": (lambda path: io.save_safetensors(path, NET), r"safetensors file; .*load_safetensors\("),
    "w.pt": (zipped("archive/data.pkl", "archive/data/0"), r"PyTorch; .*load_torch\(module, torch\.load\('"),
    "w.npz": (zipped("w/data.pkl", "w/byteorder"), r"PyTorch; .*io\.load_torch\("),
    "old.pt": (lambda path: path.write_bytes(pickle.dumps({}, 2)), r"a pickle.*torch\.load\("),
    "m.keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "Keras; there, numpy.savez"),
    "m.h5": (starting(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5, as Keras writes; the package h5py reads it"),
    "cut.keras": (starting(b"nothing known"), "Keras"),
    "cut.pth": (starting(b"nothing known"), r"PyTorch; .*load_torch"),
    "m.onnx": (starting(b"\x08\x07\x12\x07pytorch"), "ONNX"),
    "m.gguf": (starting(b"GGUF" + bytes(20)), "GGUF"),
    "x.pkl": (lambda path: path.write_bytes(pickle.dumps([1], 5)), "a pickle, which can run any code"),
    "a.npy": (lambda path: np.save(path, np.ones(3)), r"tinygrad_rnn\.tensor\(numpy\.load\("),
    "plain.npz": (lambda path: np.savez(path, a=np.ones(3)), r"archive of NumPy's; numpy\.load\("),
    "x.npz.gz": (starting(b"\x1f\x8b\x08" + bytes(20)), "compressed by gzip; unpack it first"),
    "docs.zip": (zipped("read.txt"), "is no checkpoint of tinygrad_rnn$"),
    "text.txt": (starting(b"hello"), "is no checkpoint of tinygrad_rnn$"),
    "empty.pt": (starting(b""), r"is no checkpoint of tinygrad_rnn \(it is empty\)$"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_of_others(tmp_path, name):
    write, sentence = FILES[name]
    write(tmp_path / name)
    raises(
        lambda: tg.load(tmp_path / name),
        "^load: ",
        "is no checkpoint of tinygrad_rnn",
        sentence,
        kind=ValueError,
    )
    if "safetensors" in sentence:
        return
    known = "no checkpoint" not in sentence
    what = sentence.split(";")[0] if known else "is cut short or no safetensors file$"
    raises(lambda: io.load_safetensors(tmp_path / name), "^load_safetensors: ", what, kind=ValueError)


def test_our_own_under_any_name(folder):
    tg.save("model.pt", NET)
    NET.load_state_dict(tg.load("model.pt")["model"])
    raises(
        lambda: io.load_safetensors("all.npz"),
        r"a checkpoint of tinygrad_rnn; tinygrad_rnn\.load\(",
        kind=ValueError,
    )


READERS = {"load": tg.load, "load_safetensors": io.load_safetensors}


@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read(tmp_path, monkeypatch, name):
    read = READERS[name]
    raises(lambda: read(tmp_path / "none"), f"^{name}: there is no file '.*none'$", kind=FileNotFoundError)
    raises(
        lambda: read(tmp_path), f"^{name}: .* is a folder; give the name of a file in it$", kind=ValueError
    )
    (tmp_path / "file").write_bytes(b"x")
    raises(
        lambda: read(tmp_path / "file" / "x"), f"^{name}: .* cannot be read: Not a directory$", kind=OSError
    )
    for value in (None, 3, NET):
        raises(
            lambda value=value: read(value), f"^{name}: expected the name of a file, got a", kind=TypeError
        )

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "file")

    monkeypatch.setattr("builtins.open", refuse)
    raises(lambda: read("file"), f"^{name}: 'file' cannot be read: Permission denied$", kind=PermissionError)


# ---------------------------------------------------------------- writing


def history(path):
    rows = History()
    rows.rows = [{"epoch": 1, "loss": 2.0}]
    rows.write(f"{path}.csv")


WRITERS = {
    "save": lambda path: tg.save(path, NET),
    "save, PyTorch's order": lambda path: tg.save(NET.state_dict(), path),
    "save_safetensors": lambda path: io.save_safetensors(path, NET),
    "save_safetensors, the library's order": lambda path: io.save_safetensors(NET, path),
    "History.write": history,
    "viz": lambda path: viz.curves(path, {"a": ([1, 2], [3, 4])}),
    "viz, svg": lambda path: viz.curves(f"{path}.svg", {"a": ([1, 2], [3, 4])}),
}


@pytest.fixture(params=WRITERS)
def writer(request):
    if request.param.startswith("viz"):
        pytest.importorskip("matplotlib")
    return request.param.split(",")[0], WRITERS[request.param]


def test_what_cannot_be_written(writer, tmp_path, monkeypatch):
    """Each names the path that was given, and never the file that is written first; and none is left."""
    name, write = writer
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "folder.csv").mkdir()
    start = f"^{name}: "
    for path, sentence, kind in (
        ("none/x", r"'none/x\S*' cannot be written: the folder 'none' does not exist; m", FileNotFoundError),
        ("a/b/x", r"the folder 'a/b' does not exist; make it first$", FileNotFoundError),
        ("folder", r"'folder\S*' is a folder; give the name of a file in it$", IsADirectoryError),
        ("file/x", r"the folder 'file' is a file$", NotADirectoryError),
        ("x" * 300, "cannot be written: File name too long$", OSError),
    ):
        said = raises(lambda path=path: write(path), start, sentence, kind=kind)
        assert ".part" not in said
    for number, sentence, kind in (
        (errno.EACCES, "there is no permission to write in its folder .Permission denied.$", PermissionError),
        (errno.ENOSPC, "the disk is full .No space left on device.$", OSError),
        (errno.EROFS, "Read-only file system$", OSError),
    ):
        with monkeypatch.context() as patch:

            def refuse(*_, number=number, **__):
                raise OSError(number, os.strerror(number), "/elsewhere/.writing.part")

            patch.setattr(tempfile, "mkstemp", refuse)
            said = raises(lambda: write("out"), start, "'out\\S*' cannot be written: ", sentence, kind=kind)
            assert ".part" not in said
        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, "fsync", refuse)
            raises(lambda: write("out"), start, sentence, kind=kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "folder.csv", "folder.svg"]


def test_errors_keep_their_number(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        tg.save(tmp_path / "none" / "x", NET)
    assert caught.value.errno == errno.ENOENT
    assert str(caught.value).startswith("save: ")


def test_a_name_as_long_as_the_system_takes(writer, tmp_path):
    _, write = writer
    write(tmp_path / ("x" * 251))


def test_what_is_no_name(tmp_path):
    for path in ("", "a\0b"):
        raises(lambda path=path: tg.save(path, NET), "^save.*is no name of a file$", kind=ValueError)
    raises(
        lambda: tg.save(NET),
        r"^save\(path, model, ...\): expected the name of a file, got a Lin",
        kind=TypeError,
    )
    raises(lambda: io.save_safetensors(tmp_path / "x", [1]), "expected a module or a dict", kind=TypeError)
    raises(
        lambda: io.save_safetensors(tmp_path / "x", {"a": [1]}),
        "a must be .* got a list" + MAKES,
        kind=TypeError,
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no links or devices of this kind")
def test_links_stay_and_devices_are_refused(tmp_path):
    (tmp_path / "real.npz").write_bytes(b"old")
    (tmp_path / "real.npz").chmod(0o600)
    (tmp_path / "latest.npz").symlink_to("real.npz")
    tg.save(tmp_path / "latest.npz", NET)
    assert (tmp_path / "latest.npz").is_symlink()
    assert (tmp_path / "real.npz").stat().st_mode & 0o777 == 0o600
    assert set(tg.load(tmp_path / "real.npz")["model"]) == {"weight", "bias"}
    (tmp_path / "nothing").symlink_to(os.devnull)
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", "pipe"):
        raises(
            lambda name=name: tg.save(tmp_path / name, NET),
            "^save: .* is a device or a pipe",
            kind=ValueError,
        )
    assert os.path.realpath(tmp_path / "nothing") == os.devnull
    assert not os.path.isfile(os.devnull)
