"""VRLV plus in a plain PyTorch loop: no label is thrown away, each is believed in part.

Digits with 40 % wrong labels, beside cross-entropy on all of them. Two networks say of each other's
samples how far a label is to be trusted; the rest of the target is what both predict. Run:
python examples/believe_in_part.py
"""

import torch
from torch import nn
from torch.nn import functional

from noisyselect import MemoryBank, VRLVPlusSelector
from noisyselect.torch import load_data, with_noise


def make_network():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    return network, torch.optim.Adam(network.parameters(), lr=0.005)


def descend(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@torch.no_grad()
def target(networks, images, labels, trust):
    """Return w y + (1 - w) q, sharpened; q is the mean prediction of both networks."""
    q = sum(network(images).softmax(dim=1) for network in networks) / 2
    mean = torch.lerp(q, functional.one_hot(labels, 10).float(), trust[:, None])
    return mean**2 / (mean**2).sum(dim=1, keepdim=True)


@torch.no_grad()
def record(bank, network, images, labels):
    losses = functional.cross_entropy(network(images), labels, reduction="none")
    bank.record(range(len(images)), losses=losses)
    bank.end_epoch()


@torch.no_grad()
def accuracy(network, images, labels):
    return (network(images).argmax(dim=1) == labels).float().mean().item()


def run(n_epochs=60, warm_up=10, seed=0):
    torch.manual_seed(seed)
    data = with_noise(load_data("digits"), "sym-others", 0.4, seed=seed)
    images, labels = torch.tensor(data.inputs) / 255, torch.tensor(data.labels)
    wrong = torch.tensor(data.labels != data.true_labels)

    networks, optimisers = zip(make_network(), make_network(), strict=True)
    plain, plain_optimiser = make_network()
    banks = [MemoryBank(labels, n_classes=10, window=1) for _ in networks]
    trusts = [torch.ones(len(images))] * 2  # warm-up: every label is believed
    for epoch in range(n_epochs):
        if epoch >= warm_up:
            # Each network is told by the log of the other: its own would confirm what it learnt.
            told = [VRLVPlusSelector().select(bank.log()).trust for bank in reversed(banks)]
            trusts = [torch.tensor(trust, dtype=torch.float32) for trust in told]
        for rows in torch.randperm(len(images)).split(128):
            for network, optimiser, trust in zip(networks, optimisers, trusts, strict=True):
                wanted = target(networks, images[rows], labels[rows], trust[rows])
                descend(optimiser, functional.cross_entropy(network(images[rows]), wanted))
            loss = functional.cross_entropy(plain(images[rows]), labels[rows])
            descend(plain_optimiser, loss)
        for bank, network in zip(banks, networks, strict=True):
            record(bank, network, images, labels)

    test_images, test_labels = torch.tensor(data.test_inputs) / 255, torch.tensor(data.test_labels)
    return {
        "mean trust in right labels": trusts[0][~wrong].mean().item(),
        "mean trust in wrong labels": trusts[0][wrong].mean().item(),
        "test accuracy, believed in part": accuracy(networks[0], test_images, test_labels),
        "test accuracy, all labels": accuracy(plain, test_images, test_labels),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:33} {value:.3f}")
