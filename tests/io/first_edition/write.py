"""Writes the checkpoints of this folder. They are the first edition's, version 0.1.0 of tinygrad_rnn (the
last whose cells called their parameters `w_x`, `w_h`, `b`), and are not to be written again. With that
version checked out,

    python -m tests.io.first_edition.write

trains every model of cases.py for N_BEFORE steps on NumPy, saves model, optimiser, scheduler and data as any
script would, and goes on for N_AFTER steps. What it computed in these is in `expected.json`: losses, the
outputs after the last step, and learning rates. A cell alone and one of the models are safetensors, too.
"""

from __future__ import annotations

import json
from pathlib import Path

import tinygrad_rnn as tg
from tinygrad_rnn import nn

from . import cases

HERE = Path(__file__).parent


def main():
    if tg.__version__ != "0.1.0" or not hasattr(nn.RNNCell(1, 1), "w_x") or hasattr(nn.RNNCell, "states"):
        raise SystemExit("these checkpoints are the first edition's; check out version 0.1.0 to write them")
    expected = {}
    for name in cases.LAYERS:
        net, optimizer, scheduler = cases.net_of(name)
        x, y, lengths = cases.data_for(name)
        tg.manual_seed(1)
        for p in net.parameters():
            p.data.normal_(0, 0.5)
        cases.train(net, optimizer, scheduler, x, y, lengths, cases.N_BEFORE)
        tg.save(
            HERE / f"{name}.npz", net, optimizer, scheduler=scheduler.state_dict(), x=x, y=y, lengths=lengths
        )
        if name == "lstm_peepholes":
            tg.io.save_safetensors(HERE / f"{name}.safetensors", net)
            with tg.no_grad():
                expected["safetensors"] = net(x, lengths).tolist()
        losses, output = cases.train(net, optimizer, scheduler, x, y, lengths, cases.N_AFTER)
        expected[name] = {
            "losses": losses,
            "output": output.tolist(),
            "learning rates": cases.learning_rates(optimizer),
        }
    tg.set_default_dtype("float64")
    cell = nn.LayerNormLSTMCell(2, 3, rng=0)
    for p in cell.parameters():
        p.data.normal_(0, 0.5)
    tg.io.save_safetensors(HERE / "cell.safetensors", cell)
    h, c = cell(tg.ones(2, 2))
    expected["cell"] = {"h": h.tolist(), "c": c.tolist()}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
