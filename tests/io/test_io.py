"""Files: exact round trips, one sentence for what is no file of ours, and nothing lost when writing fails."""

import os
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.extras import extra
from tinygrad_rnn import nn, optim


def model():
    m = nn.Module()
    m.embed, m.lstm, m.out = nn.Embedding(7, 4), nn.LSTM(4, 4, 2), nn.Linear(4, 7)
    m.out.weight = m.embed.weight  # tied
    return m


def test_checkpoint_round_trip(tmp_path):
    net = model()
    opt = optim.Adam(net.parameters(), lr=0.01)
    net.lstm(net.embed(tg.tensor([[1], [2]])))[0].sum().backward()
    opt.step()
    extras = {
        "epoch": 3, "best": float("inf"), "name": "é", "flag": True, "nothing": None, "vocab": ["a", "\n"],
        "nested": {"list": [1, 2.5, (3, "x")], 4: {"deep": np.arange(3)}}, "state": tg.get_rng_state(),
        "half": tg.ones(2, dtype="float16"), "empty": np.zeros((0, 3)), "bits": np.array([True, False]),
    }  # fmt: skip
    path = tmp_path / "run.npz"
    tg.save(path, net, opt, **extras)
    back = tg.load(path)
    other = model()
    other.load_state_dict(back["model"])
    for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy(), err_msg=name)
    again = optim.Adam(other.parameters())
    again.load_state_dict(back["optimizer"])
    assert again.param_groups[0]["lr"] == 0.01
    for key in ("epoch", "best", "name", "flag", "nothing", "vocab", "state"):
        assert back[key] == extras[key]
    assert back["nested"]["list"] == [1, 2.5, (3, "x")]
    assert back["nested"][4]["deep"].tolist() == [0, 1, 2]
    assert back["half"].dtype == np.float16
    assert back["empty"].shape == (0, 3)
    assert back["bits"].dtype == np.bool_


def test_pytorchs_order_of_arguments(tmp_path):
    net = model()
    tg.save(net.state_dict(), tmp_path / "weights.npz")
    net.load_state_dict(tg.load(tmp_path / "weights.npz"))


def test_nothing_is_pickled(tmp_path):
    tg.save(tmp_path / "run.npz", model())
    assert b"pickle" not in (tmp_path / "run.npz").read_bytes()
    with pytest.raises(TypeError, match=r"things\['a'\]\[1\] is a object, which is not plain"):
        tg.save(tmp_path / "run.npz", things={"a": [1, object()]})
    with pytest.raises(TypeError, match="has the key 1"):
        tg.save(tmp_path / "run.npz", things={1.5: 1})
    with pytest.raises(TypeError, match="which is not plain"):
        tg.save(
            tmp_path / "run.npz", things=np.array([object()]) if tg.current_backend().name == "numpy" else {1}
        )
    tg.load(tmp_path / "run.npz")  # the old one is still whole


def test_a_failed_write_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    tg.save(path, epoch=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    for name, error in (("fsync", full), ("replace", full)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, error)
            with pytest.raises(OSError, match="No space"):
                tg.save(path, epoch=2)
    assert tg.load(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"hello", "is no checkpoint of tinygrad_rnn"),
        (pickle.dumps([1, 2]), "is no checkpoint of tinygrad_rnn"),
        (b"PK\x03\x04" + b"\0" * 50, "cut short or damaged"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tg.load(path)
    assert path.read_bytes() == content


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "x.npz"
    tg.save(path, nn.Linear(3, 4), epoch=1)
    whole = path.read_bytes()
    for n in range(2, len(whole) - 1, 37):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"cut short or damaged|no checkpoint"):
            tg.load(path)


def test_other_archives_newer_versions_and_missing_files(tmp_path, monkeypatch):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="no checkpoint of tinygrad_rnn"):
        tg.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        tg.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="is a folder"):
        tg.load(tmp_path)
    monkeypatch.setattr("tinygrad_rnn.io.checkpoint.VERSION", 2)
    tg.save(tmp_path / "new.npz", epoch=1)
    monkeypatch.setattr("tinygrad_rnn.io.checkpoint.VERSION", 1)
    with pytest.raises(ValueError, match="has version 2, this package reads up to 1"):
        tg.load(tmp_path / "new.npz")


def test_safetensors_round_trip(tmp_path):
    path = tmp_path / "w.safetensors"
    state = {
        "a": tg.randn(2, 3), "b": tg.zeros(0, 2), "c": tg.tensor(3), "d": tg.ones(3, dtype="float16"),
        "e": tg.tensor([True, False]), "t": tg.randn(3, 4).T,
    }  # fmt: skip
    tg.io.save_safetensors(path, state, {"format": "pt"})
    back = tg.io.load_safetensors(path)
    assert list(back) == list(state)
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name].numpy(), value.numpy())
    net = model()
    tg.io.save_safetensors(path, net)
    net.load_state_dict(tg.io.load_safetensors(path))


def test_safetensors_is_the_formats_own(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "w.safetensors"
    tg.io.save_safetensors(path, {"a": tg.arange(6).reshape(2, 3), "b": tg.randn(4)})
    assert library.load_file(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    library.save_file({"x": np.eye(2, dtype=np.float32), "y": np.arange(3)}, path)
    assert tg.io.load_safetensors(path)["x"].tolist() == [[1, 0], [0, 1]]


def test_safetensors_damaged(tmp_path):
    path = tmp_path / "w.safetensors"
    tg.io.save_safetensors(path, {"a": tg.randn(4), "b": tg.randn(2)})
    whole = path.read_bytes()
    for bad in (b"", whole[:5], whole[:20], whole[:-1], whole + b"x", b"\xff" * 8 + whole[8:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match="cut short or no safetensors"):
            tg.io.load_safetensors(path)
    path.write_bytes(whole.replace(b"F32", b"F99"))
    with pytest.raises(ValueError, match="is F99, which this package does not have"):
        tg.io.load_safetensors(path)


def test_bfloat16_becomes_float32(tmp_path):
    path = tmp_path / "w.safetensors"
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    header += b" " * (-len(header) % 8)
    values = np.array([1.5, -2.0], np.float32).view("<u4") >> 16
    path.write_bytes(len(header).to_bytes(8, "little") + header + values.astype("<u2").tobytes())
    assert tg.io.load_safetensors(path)["a"].tolist() == [1.5, -2.0]


# ---------------------------------------------------------------- PyTorch's names, without PyTorch


def test_to_torch_and_back():
    for layer in (
        nn.LSTM(3, 4, 2, bidirectional=True),
        nn.GRU(3, 4, reset_after=True),
        nn.RNN(3, 4, bias=False),
    ):
        weights = tg.io.to_torch(layer)
        assert weights["weight_ih_l0"].shape[1] == 3
        twin = type(layer)(3, 4, layer.num_layers, bias=layer.cells[0].bias is not None,
                           bidirectional=layer.bidirectional,
                           **({"reset_after": True} if isinstance(layer, nn.GRU) else {}))  # fmt: skip
        tg.io.load_torch(twin, weights)
        for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
            np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_names_inside_a_module_and_tied_weights():
    net = model()
    weights = tg.io.to_torch(net)
    assert {"embed.weight", "lstm.weight_hh_l1", "lstm.bias_ih_l0", "out.weight", "out.bias"} <= set(weights)
    tg.io.load_torch(net, {name: w + 1 for name, w in weights.items()})
    assert net.out.weight is net.embed.weight


def test_what_does_not_fit():
    layer = nn.LSTM(3, 4)
    weights = tg.io.to_torch(layer)
    before = [p.numpy().copy() for p in layer.parameters()]
    with pytest.raises(ValueError, match="missing bias_hh_l0; unexpected other"):
        tg.io.load_torch(
            layer, {**{k: v for k, v in weights.items() if k != "bias_hh_l0"}, "other": np.ones(1)}
        )
    with pytest.raises(ValueError, match=r"weight_ih_l0 has shape \(2, 2\), expected \(16, 3\)"):
        tg.io.load_torch(layer, {**weights, "weight_ih_l0": np.ones((2, 2))})
    with pytest.raises(TypeError, match="weight_ih_l0 is a list"):
        tg.io.load_torch(layer, {**weights, "weight_ih_l0": [1]})
    for p, q in zip(layer.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.numpy(), q)
    with pytest.raises(ValueError, match="no counterpart in PyTorch; build it with reset_after=True"):
        tg.io.to_torch(nn.GRU(3, 4))
    with pytest.raises(ValueError, match="load_torch"):
        layer.load_state_dict(weights)


@pytest.mark.extras("torch")
def test_pytorchs_tensors():
    """Whatever they are, as our tensors: their type stays; files that it wrote are named and read."""
    torch = extra("torch")
    for given, kind in (
        (torch.ones(2), "float32"),
        (torch.ones(2, dtype=torch.float64), "float64"),
        (torch.ones(2, dtype=torch.bfloat16), "float32"),
        (torch.ones(2, dtype=torch.int64), "int64"),
        (torch.ones(2, requires_grad=True), "float32"),
        (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)), "float64"),
    ):
        for made in (tg.tensor(given), tg.as_tensor(given)):
            assert (made.dtype, made.tolist()) == (kind, [1, 1])
        assert (tg.Tensor(given).dtype, tg.Tensor(given).tolist()) == ("float32", [1, 1])  # the default type
    assert tg.tensor([torch.ones(2), torch.zeros(2)]).tolist() == [[1, 1], [0, 0]]


@pytest.mark.extras("torch")
def test_a_file_of_pytorch_is_named_and_read(tmp_path):
    torch = extra("torch")
    theirs, ours = torch.nn.Linear(2, 3), nn.Linear(2, 3)
    for how in (True, False):  # the format of today, and that of before 2020
        torch.save(theirs.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=how)
        with pytest.raises(ValueError, match=r"(PyTorch|pickle).*torch\.load\("):
            tg.load(tmp_path / "w.pt")
    tg.io.load_torch(ours, torch.load(tmp_path / "w.pt", weights_only=True))
    assert ours.weight.tolist() == theirs.weight.tolist()


def test_pytorchs_own_dict_of_a_cell_is_not_taken_for_ours():
    """The names of its weights are ours, and its matrices the transpose: square ones would fit in silence."""
    theirs = {"weight_ih": tg.ones(16, 3), "weight_hh": tg.ones(16, 4)}
    cell = nn.LSTMCell(3, 4, bias=False)
    net = nn.Sequential(cell)
    kept = cell.weight_ih.numpy().copy()
    for module, state in [
        (cell, theirs),
        (net, {f"0.{name}": value for name, value in theirs.items()}),
        (nn.RNNCell(4, 4), {**nn.RNNCell(4, 4).state_dict(), "bias_ih": tg.ones(4)}),
        (nn.LSTMCell(3, 4, proj_size=2), {**nn.LSTMCell(3, 4, proj_size=2).state_dict(),
                                          "weight_hr": tg.ones(2, 4)}),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=r"is of PyTorch's recurrent layers; .*load_torch\(module"):
            module.load_state_dict(state)
    np.testing.assert_array_equal(cell.weight_ih.numpy(), kept)
    with pytest.raises(ValueError, match=r"unexpected cells\.1\.weight_ih, cells\.1\.weight_hh"):
        nn.LSTM(3, 4).load_state_dict(nn.LSTM(3, 4, 2).state_dict())  # ours, of a deeper layer


@pytest.mark.extras("torch")
def test_a_tensor_of_pytorch_is_never_taken_for_a_weight_of_ours():
    torch = extra("torch")
    with pytest.raises(ValueError, match=r"weight_(ih|hh) is of PyTorch's"):
        nn.RNNCell(4, 4, bias=False).load_state_dict(torch.nn.RNNCell(4, 4, bias=False).state_dict())


@pytest.mark.extras("torch")
def test_a_module_that_keeps_pytorchs_layout_reads_pytorchs_tensors():
    torch = extra("torch")

    class Ported(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight_ih = nn.Parameter(tg.zeros(8, 3))

    net = Ported()
    net.load_state_dict({"weight_ih": torch.ones(8, 3)})
    assert (net.weight_ih.numpy() == 1).all()
