"""What VRLV's rescue after a step of the learning rate does to a plain loop on its selection.

Two networks train by weighted cross-entropy on digits with 30 % of the labels one class too high;
the rate drops to a tenth at two thirds. The figures of docs/paper.md: python benchmarks/rescue.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from noisyselect import MemoryBank, VRLVSelector
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.torch import SmallMLP, load_data

VARIANTS = {
    "agreeing (default)": VRLVSelector(),
    "printed": VRLVSelector(rescue="printed"),
    "never (lr_change_epochs=0)": VRLVSelector(lr_change_epochs=0),
}


def run(selector, seed, n_epochs=30, warm_up=6):
    """Return the least precision of a selection after the step, and the last test accuracies."""
    torch.manual_seed(seed)
    data, rng = load_data("digits"), np.random.default_rng(seed)
    truth = data.labels
    labels = np.where(rng.random(truth.size) < 0.3, (truth + 1) % 10, truth)
    X, y = torch.tensor(data.inputs).flatten(1) / 240, torch.tensor(labels)
    neighbours = nearest_neighbours(X.numpy(), 20, "cosine")
    networks = [SmallMLP(64, 10) for _ in "ab"]
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9) for net in networks]
    banks = [MemoryBank(labels, n_classes=10, window=selector.history) for _ in networks]
    for bank in banks:
        bank.set_neighbours(neighbours)
    weights = [torch.ones(len(y)) for _ in networks]
    least = 1.0
    for epoch in range(n_epochs):
        lr = 0.1 if epoch < n_epochs * 2 // 3 else 0.01
        for net, optimiser, bank, weight in zip(networks, optimisers, banks, weights, strict=True):
            optimiser.param_groups[0]["lr"] = lr
            chosen = weight.nonzero().squeeze(1)
            for batch in chosen[torch.randperm(len(chosen))].split(64):
                losses = functional.cross_entropy(net(X[batch]), y[batch], reduction="none")
                optimiser.zero_grad()
                (weight[batch] * losses).mean().backward()
                optimiser.step()
            with torch.no_grad():
                logits = net(X)
            losses = functional.cross_entropy(logits, y, reduction="none")
            bank.record(range(len(y)), losses=losses, predictions=logits.argmax(dim=1))
            bank.end_epoch(lr=lr)
        if epoch >= warm_up:
            pair = selector.select_pair(banks[0].log(), banks[1].log())
            weights = [torch.tensor(selection.weights, dtype=torch.float32) for selection in pair]
            if lr < 0.1:
                right = labels == truth
                least = min(least, *(right[selection.clean].mean() for selection in pair))
    X_test = torch.tensor(data.test_inputs).flatten(1) / 240
    with torch.no_grad():
        predicted = [net(X_test).argmax(dim=1).numpy() for net in networks]
    return least, np.mean([classes == data.test_labels for classes in predicted])


def main():
    table = Table(title="mean ± deviation in % over seeds 0 to 3, mean of both networks")
    for heading in ("rescue", "least precision after the step", "test accuracy, last epoch"):
        table.add_column(heading)
    for name, selector in VARIANTS.items():
        figures = 100 * np.array([run(selector, seed) for seed in range(4)])
        mean, deviation = figures.mean(axis=0), figures.std(axis=0, ddof=1)
        table.add_row(name, *(f"{m:.1f} ± {d:.1f}" for m, d in zip(mean, deviation, strict=True)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
