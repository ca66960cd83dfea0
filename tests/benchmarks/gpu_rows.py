"""The rows of a GPU: `python -m tests.benchmarks --backend cupy`.

Recurrent layers, and a cell as users write one: eagerly and as one CUDA graph, against torch.nn (cuDNN), a
loop over PyTorch's cell, and ourselves on the host. All of it float32, with TF32 off, or with `--tf32` on, on
both sides alike. What is called "ours" in a row is the way that its group names.

A GPU works on while the host goes on; so each turn begins and ends with waiting for it.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from . import cells, report
from .measure import Times, assert_close
from .rows import Result, Settings, UsersCell, random, result

Run = Callable[[], Any]
Size = tuple[int, int, int, int]  # time, batch, features, hidden size

SIZES: list[Size] = [(100, 64, 256, 256), (100, 64, 1024, 1024), (256, 256, 512, 512), (50, 1, 128, 128)]
CROSSOVER: list[Size] = [
    (50, n, h, h) for n, h in ((1, 16), (1, 64), (8, 64), (16, 128), (32, 256), (64, 512))
]
QUICK: list[Size] = [(2, 1, 4, 512), (3, 2, 4, 8)]  # one of each kind that the targets ask for
LOOP = "loop over LSTMCell"


class Gpu:
    """The machine that is measured: CuPy's, and PyTorch's name for it."""

    name, torch_device = "cupy", "cuda"

    def wait(self) -> None:
        """Until the GPU has done everything, whoever gave it the work."""
        import cupy

        cupy.cuda.runtime.deviceSynchronize()

    def facts(self, torch: Any) -> dict[str, str]:
        """The GPU's name, the driver and the versions."""
        import cupy

        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[0]
        except (OSError, subprocess.CalledProcessError):
            driver = "unknown"
        runtime = cupy.cuda.runtime
        versions = f"CuPy {cupy.__version__} with CUDA {_dotted(runtime.runtimeGetVersion())}"
        if torch is not None:
            versions += f"; PyTorch with CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        return {
            "GPU": tg.cuda.get_device_name(),
            "driver": f"{driver}, up to CUDA {_dotted(runtime.driverGetVersion())}",
            "GPU's versions": versions,
        }


def _dotted(version: int) -> str:
    """CUDA's 12040 as 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"


@dataclass
class GpuSettings(Settings):
    """What was asked for, and where it runs."""

    machine: Any = None
    clock: Callable[[], float] = time.perf_counter


def race(
    contestants: Mapping[str, Run],
    settings: GpuSettings,
    seconds: float,
    rounds: int = 5,
    block: float = 0.05,
) -> Times:
    """What measure.race does, for those who leave work to a GPU: each turn is timed from when the GPU is idle
    until it is idle again. Kernels have been compiled before, and graphs captured.
    """
    wait, clock = settings.machine.wait, settings.clock
    runs: dict[str, int] = {}
    for name, run in contestants.items():
        run()
        wait()
        start = clock()
        run()
        wait()
        runs[name] = max(1, round(block / max(clock() - start, 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    end = clock() + seconds
    while clock() < end or any(len(taken) < rounds for taken in times.values()):
        gc.collect()
        for name in order:
            run = contestants[name]
            wait()
            start = clock()
            for _ in range(runs[name]):
                run()
            wait()
            times[name].append((clock() - start) / runs[name])
        order.append(order.pop(0))
    return Times(times)


# ---------------------------------------------------------------- who takes part


class Ours:
    """A layer of ours and its training step, which gives the loss: `gradients` are then there to be read."""

    def __init__(self, layer: Any, x: Any, last: bool = False) -> None:
        self.layer, self.x, self.last = layer, x, last

    def step(self) -> Any:
        for p in (*self.layer.parameters(), self.x):
            p.grad = None
        output, _ = self.layer(self.x)
        loss = (output[-1] if self.last else output).sum()
        loss.backward()
        return loss

    def gradients(self) -> list[Any]:
        return [p.grad.numpy() for p in (self.x, *self.layer.parameters())]


def graph_of(ours: Ours, name: str) -> Run | None:
    """The step as a CUDA graph, captured; None, and a line that says why, where it cannot be."""
    step = tg.cuda.graphed(ours.step)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            step()
    if step.n_graphs == 1:
        run: Run = step
        return run
    reason = next((str(w.message) for w in said), "nobody said why")
    print(f"{name}: no graph: {reason}", file=sys.stderr)
    return None


def in_torch(torch: Any, leaves: Sequence[Any], loss: Run) -> Run:
    """A training step in PyTorch, which gives the gradients of the leaves where they lie."""

    def step() -> list[Any]:
        for p in leaves:
            p.grad = None
        loss().backward()
        return [p.grad for p in leaves]

    return step


def on_host(gradient: Any) -> Any:
    return gradient.detach().cpu().numpy()


def torch_layer(torch: Any, kind: str, size: Size, data: Any, device: str) -> tuple[Any, Any]:
    """A layer of PyTorch's and its input, both on the device."""
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(size[2], size[3]).to(device)
    return layer, torch.tensor(data, device=device, requires_grad=True)


def torch_loop(torch: Any, layer: Any, x: Any) -> Run:
    """The LSTM's step in a loop over LSTMCell, with the layer's weights."""
    cell = torch.nn.LSTMCell(layer.input_size, layer.hidden_size).to(x.device)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})

    def loss() -> Any:
        h = c = x.new_zeros(x.shape[1], layer.hidden_size)
        outputs = []
        for x_t in x:
            h, c = cell(x_t, (h, c))
            outputs.append(h)
        return torch.stack(outputs).sum()

    return in_torch(torch, [x, *cell.parameters()], loss)


def pair(make: Callable[[], Ours], name: str) -> tuple[Ours, dict[str, Run]]:
    """Our step, and the contestants that it makes: eager, and as a graph where it can be one. Each has a
    layer of its own, because a graph keeps its gradients where they are. Both give the same gradients.
    """
    eager, captured = make(), make()
    eager.step()
    contestants: dict[str, Run] = {"eager": eager.step}
    graph = graph_of(captured, name)
    if graph is not None:
        for one, other in zip(captured.gradients(), eager.gradients(), strict=True):
            assert_close(f"{name}, graphed", one, other, 1e-5)
        contestants["graphed"] = graph
    return eager, contestants


def results(group: str, row: str, times: Times) -> Iterator[Result]:
    """A line for each way of ours: the ratios of a line are to that way."""
    for way in ("eager", "graphed"):
        if way in times.of:
            others = {name: taken for name, taken in times.of.items() if name != way}
            yield result(f"{group}, {way}", row, Times({"ours": times.of[way], **others}))


def text(size: Size) -> str:
    return ", ".join(map(str, size))


# ---------------------------------------------------------------- the rows


def layer_row(kind: str) -> Callable[[GpuSettings], Iterator[Result]]:
    """A recurrent layer of each size; the GRU in cuDNN's form."""

    def run(settings: GpuSettings) -> Iterator[Result]:
        for size in QUICK if settings.quick else SIZES:
            yield from one_size(kind, size, settings)

    return run


def one_size(kind: str, size: Size, settings: GpuSettings) -> Iterator[Result]:
    """One layer, forward and backward to weights and input."""
    more = {"reset_after": True} if kind == "GRU" else {}
    data, torch, name = random(*size[:3]), settings.peers.get("torch"), f"{kind} ({text(size)})"
    device = settings.machine.torch_device
    weights = None
    if torch is not None:
        theirs, their_x = torch_layer(torch, kind, size, data, device)
        weights = theirs.state_dict()

    def ours(**where: Any) -> Ours:
        tg.manual_seed(0)
        layer = getattr(nn, kind)(size[2], size[3], **more, **where)
        if weights is not None:
            tg.io.load_torch(layer, weights)
        return Ours(layer, tg.tensor(data, requires_grad=True, **where))

    mine, contestants = pair(ours, name)
    if torch is not None:
        contestants["torch"] = in_torch(
            torch, [their_x, *theirs.parameters()], lambda: theirs(their_x)[0].sum()
        )
        if kind == "LSTM":
            contestants[LOOP] = torch_loop(torch, theirs, their_x)
        compare_with_torch(mine, theirs, contestants, name)
    yield from results(kind, text(size), race(contestants, settings, settings.seconds))
    yield against_numpy(kind, size, ours, mine, contestants, settings)


def compare_with_torch(mine: Ours, theirs: Any, contestants: Mapping[str, Run], name: str) -> None:
    """Raises AssertionError unless PyTorch's gradients are ours, those of the weights in our layout."""
    bound = 2e-2 if tg.cuda.allow_tf32.on else 1e-3
    layer = mine.layer
    for who in ("torch", LOOP):
        if who not in contestants:
            continue
        of_x, *of_weights = contestants[who]()
        assert_close(f"{name}, {who}: x", mine.x.grad.numpy(), on_host(of_x), bound)
        names = [n for n, _ in theirs.named_parameters()]
        given = dict(zip(names, map(on_host, of_weights), strict=True))
        mine_by_name = dict(layer.cells[0].named_parameters())
        for ours_name, their_name in (("weight_ih", "weight_ih_l0"), ("weight_hh", "weight_hh_l0")):
            gradient = mine_by_name[ours_name].grad.numpy()
            expected = given[their_name].T
            if type(layer) is nn.GRU:  # z means the opposite there, so that block has the opposite sign
                expected = expected.copy()
                h = layer.hidden_size
                expected[:, h : 2 * h] *= -1
            assert_close(f"{name}, {who}: {ours_name}", gradient, expected, bound)


def against_numpy(
    group: str,
    size: Size,
    ours: Callable[..., Ours],
    mine: Ours,
    contestants: Mapping[str, Run],
    settings: GpuSettings,
) -> Result:
    """The better of our ways on the GPU against the same on the host, in few rounds, for the host is slow."""
    with tg.use("numpy"):
        host = ours(device="cpu")
        host.step()
        bound = 2e-2 if tg.cuda.allow_tf32.on else 1e-3
        for one, other in zip(mine.gradients(), host.gradients(), strict=True):
            assert_close(f"{group} ({text(size)}), NumPy", one, other, bound)
    best = contestants.get("graphed", contestants["eager"])
    times = race({"ours": best, "numpy": host.step}, settings, 0.0, rounds=3)
    return result(f"{group}, against NumPy", text(size), times)


def users_row(settings: GpuSettings) -> Iterator[Result]:
    """An LSTM as somebody writes it for `Recurrent`, against a loop over the same in PyTorch."""
    torch = settings.peers.get("torch")
    for size in QUICK if settings.quick else SIZES:
        n_steps, n, n_in, h = size
        name = f"a user's cell ({text(size)})"
        data = [
            random(n_steps, n, n_in),
            *(random(*s, scale=h**-0.5) for s in ((n_in, 4 * h), (h, 4 * h), (4 * h,))),
        ]

        def ours(data: Any = data, **where: Any) -> Ours:
            layer = nn.Recurrent(UsersCell(*data[1:]))
            return Ours(layer, tg.tensor(data[0], requires_grad=True, **where), last=True)

        mine, contestants = pair(ours, name)
        if torch is not None:
            device = settings.machine.torch_device
            leaves = [torch.tensor(a, device=device, requires_grad=True) for a in data]

            def loss(leaves: Any = leaves, h: int = h, torch: Any = torch) -> Any:
                x, *weights = leaves
                state = (x.new_zeros(x.shape[1], h),) * 2
                for x_t in x:
                    state = cells.lstm_step(torch, torch.sigmoid, x_t, *state, *weights, h)
                return state[0].sum()

            contestants["torch"] = in_torch(torch, leaves, loss)
            bound = 2e-2 if tg.cuda.allow_tf32.on else 1e-3
            for k, (one, other) in enumerate(zip(mine.gradients(), contestants["torch"](), strict=True)):
                assert_close(f"{name}, torch, gradient {k}", one, on_host(other), bound)
        yield from results("a user's cell", text(size), race(contestants, settings, settings.seconds))
        yield against_numpy("a user's cell", size, ours, mine, contestants, settings)


def crossover_row(settings: GpuSettings) -> Iterator[Result]:
    """The LSTM at smaller sizes against ourselves on the host."""
    for size in QUICK[1:] if settings.quick else CROSSOVER:
        data = random(*size[:3])

        def ours(size: Size = size, data: Any = data, **where: Any) -> Ours:
            tg.manual_seed(0)
            return Ours(nn.LSTM(size[2], size[3], **where), tg.tensor(data, requires_grad=True, **where))

        mine, contestants = pair(ours, f"LSTM ({text(size)})")
        yield against_numpy("LSTM", size, ours, mine, contestants, settings)


ROWS: dict[str, Callable[[GpuSettings], Iterator[Result]]] = {
    "lstm": layer_row("LSTM"),
    "gru": layer_row("GRU"),
    "rnn": layer_row("RNN"),
    "users": users_row,
    "crossover": crossover_row,
}


# ---------------------------------------------------------------- what is hoped for, and the whole


def _hidden(r: Result) -> int:
    return int(r.row.split(",")[-1])


def _targets() -> Iterator[report.Target]:
    large, small = (lambda r: _hidden(r) >= 512), (lambda r: _hidden(r) <= 256)
    for way in ("eager", "graphed"):
        yield f"LSTM, {way}, against a loop over LSTMCell", f"LSTM, {way}", LOOP, None, 3, 10
        yield f"user's cell, {way}, against PyTorch's loop", f"a user's cell, {way}", "torch", None, 3, 10
        for kind in ("LSTM", "GRU"):
            yield f"{kind}, {way}, against cuDNN, H >= 512", f"{kind}, {way}", "torch", large, 0.5, 1.0
    for kind in ("LSTM", "GRU", "RNN", "a user's cell"):
        yield f"{kind}, graphed against eager, H <= 256", f"{kind}, graphed", "eager", small, 3, 6


TARGETS: list[report.Target] = list(_targets())  # for an H100


def crossover(found: Sequence[Result]) -> str:
    """From which size on the GPU pays, as a sentence: the LSTM's rows in the order of their work."""

    def work(r: Result) -> int:
        n_steps, n, n_in, h = map(int, r.row.split(","))
        return n_steps * n * h * (n_in + h)

    rows = sorted((r for r in found if r.group == "LSTM, against NumPy"), key=work)
    if not rows:
        return ""
    pays = [r.ratios["numpy"][0] > 1 for r in rows]
    first = len(pays) - next((k for k, yes in enumerate(reversed(pays)) if not yes), len(pays))
    if first == len(rows):
        return f"The GPU does not pay at any of {len(rows)} sizes of the LSTM."
    before = "" if first == 0 else f"; at {rows[first - 1].row} it does not"
    return f"From (T, B, I, H) = {rows[first].row} on the GPU pays{before}."


def measure(settings: GpuSettings, chosen: Sequence[str], show: Callable[[Result], None]) -> list[Result]:
    """All results of some rows, each shown when it is there."""
    found = []
    with tg.use(settings.machine.name):
        for name in chosen:
            for one in ROWS[name](settings):
                found.append(one)
                show(one)
    return found


def set_tf32(torch: Any, on: bool) -> None:
    """Ours and PyTorch's, for its products and for cuDNN alike."""
    tg.cuda.allow_tf32(on)
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on


def torch_on_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """PyTorch as the one peer, where it was asked for and finds the GPU; else a line that says why not."""
    if "torch" not in options.peers.split(","):
        return {}
    try:
        import torch
    except ImportError:
        print("torch is not installed: its columns stay empty")
        return {}
    if not torch.cuda.is_available():
        print("this torch finds no GPU: its columns stay empty")
        return {}
    return {"torch": torch}


def main(options: argparse.Namespace, cleared: str) -> int:
    """The command, with `--backend cupy`. Exit status 2, and a sentence, where there is no GPU."""
    chosen = [name for name in options.rows.split(",") if name] or list(ROWS)
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        print(f"there is no row {unknown[0]} for a GPU; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    try:
        tg.use("cupy")
    except RuntimeError as reason:
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    peers = torch_on_gpu(options)
    torch = peers.get("torch")
    set_tf32(torch, options.tf32)
    gpu = Gpu()
    machine = {**report.machine(peers, options.threads, cleared), **gpu.facts(torch)}
    machine["TF32"] = "on, on both sides" if options.tf32 else "off, on both sides"
    print("\n".join(f"{k}: {v}" for k, v in machine.items()) + "\n")
    settings = GpuSettings(peers, 0.2 if options.quick else options.seconds, options.quick, gpu)
    found = measure(settings, chosen, lambda r: print(report.line(r), flush=True))
    print("\n" + report.targets(found, markdown=options.markdown, hoped=TARGETS))
    print(crossover(found))
    if options.markdown:
        print("\n" + report.table(found))
    if options.json:
        report.write_json(options.json, machine, found)
    return 0
