"""save and load as PyTorch's scripts call them: files that are open, devices, whole modules."""

import io

import numpy as np
import pytest

import tinygrad_rnn as torch
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn, optim


class Net(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary
        self.sizes = (4, 6)
        self.act = F.relu
        self.kind = torch.float32
        self.embedding = nn.Embedding(5, 4, padding_idx=0)
        self.rnn = nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Sequential(nn.Linear(12, 4), nn.Dropout(0.5), nn.Linear(4, 5, bias=False))
        self.out[2].weight = self.embedding.weight  # tied
        self.register_buffer("seen", torch.zeros(2, dtype=torch.long))

    def forward(self, x):
        output, _ = self.rnn(self.embedding(x))
        return self.out(self.act(output))


WORDS = {"a": 1, "b": 2}
X = torch.tensor([[1, 2, 3], [4, 0, 0]])


def there_and_back(what, **settings):
    file = io.BytesIO()
    torch.save(what, file)
    file.seek(0)
    return torch.load(file, **settings)


def test_open_files(tmp_path):
    net = nn.Linear(2, 3)
    optimizer = optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"epoch": 3, "model": net.state_dict(), "optimizer": optimizer.state_dict(), "loss": 0.5}
    found = there_and_back(state, map_location="cpu", weights_only=True)
    assert found["epoch"] == 3
    assert found["loss"] == 0.5
    other = nn.Linear(2, 3)
    other.load_state_dict(found["model"])
    assert torch.equal(other.weight, net.weight)
    optim.Adam(other.parameters()).load_state_dict(found["optimizer"])
    with open(tmp_path / "net.pt", "wb") as file:
        torch.save(net.state_dict(), file)
    with open(tmp_path / "net.pt", "rb") as file:
        assert torch.equal(torch.load(file)["weight"], net.weight)
    assert torch.equal(torch.load(tmp_path / "net.pt")["weight"], net.weight)
    assert there_and_back(torch.arange(3)).tolist() == [0, 1, 2]
    assert there_and_back([1, (2, "x"), None]) == [1, (2, "x"), None]


@pytest.mark.host
@pytest.mark.parametrize(
    "place", ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, place: storage]
)
def test_map_location(place, tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    assert torch.load(tmp_path / "w.pt", map_location=place)["w"].device.type == "cpu"
    assert torch.load(tmp_path / "w.pt", place)["w"].tolist() == [1, 1]


def test_modules_of_nn_come_back(tmp_path):
    net = nn.Sequential(nn.Embedding(5, 4), nn.GRU(4, 3, batch_first=True))
    torch.save(net, tmp_path / "net.pt")
    other = torch.load(tmp_path / "net.pt", weights_only=False)
    assert type(other) is nn.Sequential
    assert torch.equal(other(X)[0], net(X)[0])
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert isinstance(other[0].weight, nn.Parameter)
    other[1].weight_ih_l0  # noqa: B018
    deep = nn.GRU(4, 3, num_layers=2, dropout=0.5, rng=3)
    assert there_and_back(deep)(torch.zeros(2, 1, 4))[0].shape == (2, 1, 3)
    with pytest.raises(ValueError, match="holds a module; weights_only=False reads it"):
        torch.load(tmp_path / "net.pt", weights_only=True)


def test_modules_of_ones_own_come_back_if_they_are_named(tmp_path):
    net = Net(WORDS).eval()
    net.rnn.weight_dropped = None
    torch.save(net, tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match=r"holds a module of the class '.*Net'; load\(\.\.\., classes=\[Net\]\)"
    ):
        torch.load(tmp_path / "net.pt")
    for classes in ([Net], {"Net": Net}):
        other = torch.load(tmp_path / "net.pt", classes=classes)
        assert type(other) is Net
        assert torch.equal(other(X), net(X))
        assert other.vocabulary == WORDS
        assert other.sizes == (4, 6)
        assert other.act is F.relu
        assert other.kind == torch.float32
        assert not other.training
        assert other.out[2].weight is other.embedding.weight
        assert [n for n, _ in other.named_buffers()] == ["seen"]
        other.train()(X).sum().backward()
        assert other.embedding.weight.grad is not None
    with pytest.raises(TypeError, match=r"classes are subclasses of nn\.Module"):
        torch.load(tmp_path / "net.pt", classes=[int])


def test_what_cannot_be_written_is_named(tmp_path):
    net = Net(WORDS)
    net.act = lambda x: x
    with pytest.raises(TypeError, match=r"save: only\.act is a function, which is not plain"):
        torch.save(net, tmp_path / "net.pt")
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.parametrize("text", [
    {"module": [0, "os.system", []]}, {"module": [0, "Parameter", []]}, {"module": [0, "functional", []]},
    {"module": [0, 3, []]}, {"module": [1, "Linear", []]}, {"module": [0, "Linear"]}, {"again": 0},
    {"again": "x"},
    {"module": [0, "Linear", [[1, 2]]]}, {"function": "__import__"}, {"function": "torch"},
    {"dtype": "object"},
    {"parameter": [0, 1, True]}, {"device": "file"}, {"_list": []}, {"part": 1},
])  # fmt: skip
def test_files_choose_no_classes(text):
    import json

    header = {"format": "tinygrad_rnn checkpoint", "version": 1, "content": {"dict": [["only", text]]}}
    file = io.BytesIO()
    np.savez(file, structure=np.frombuffer(json.dumps(header).encode(), np.uint8))
    file.seek(0)
    with pytest.raises(ValueError, match="load: the file"):
        torch.load(file)


def test_other_files_are_refused():
    for content in (b"", b"abc", b"PK\x03\x04"):
        with pytest.raises(ValueError, match=r"load: .*the file"):
            torch.load(io.BytesIO(content))
