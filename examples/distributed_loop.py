"""Several processes, each with its share of the samples, that all make the same selection.

Plain cross-entropy under DistributedDataParallel on the digits that GMMSelector trusts; 36 % of the
labels are wrong. Run: torchrun --nproc-per-node 2 examples/distributed_loop.py
"""

import sys

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from noisyselect import GMMSelector, MemoryBank
from noisyselect.torch import AllRanks, load_data, with_noise


def train_one_epoch(network, optimiser, chosen, epoch):
    sampler = DistributedSampler(chosen)
    sampler.set_epoch(epoch)
    for _, images, labels in DataLoader(chosen, batch_size=32, sampler=sampler):
        loss = functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def record(bank, module, data):
    """Show the bank this rank's share of all samples; where the epoch ends, the ranks meet."""
    sampler = DistributedSampler(data, shuffle=False)
    for ids, images, labels in DataLoader(data, batch_size=500, sampler=sampler):
        logits = module(images)
        losses = functional.cross_entropy(logits, labels, reduction="none")
        bank.record(ids, losses=losses, predictions=logits.argmax(dim=1))
    return bank.end_epoch(lr=0.1)


def run(n_epochs=20, warm_up=4, seed=0):
    torch.manual_seed(seed)
    digits = with_noise(load_data("digits"), "sym", 0.4, seed=seed)
    images, labels = torch.tensor(digits.inputs) / 255, torch.tensor(digits.labels)
    data = TensorDataset(torch.arange(len(labels)), images, labels)

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    network = DistributedDataParallel(module)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    selector = GMMSelector()
    # Made like any other bank, but for the last argument.
    bank = MemoryBank(digits.labels, window=selector.history, gather=AllRanks(timeout=60))

    chosen = data
    for epoch in range(n_epochs):
        if epoch >= warm_up:
            chosen = Subset(data, selector.select(bank.log()).labelled.tolist())
        train_one_epoch(network, optimiser, chosen, epoch)
        summary = record(bank, module, data)

    selection = selector.select(bank.log())
    wrong = digits.labels != digits.true_labels
    return {
        "recorded twice": summary.n_duplicates,
        "wrong among all": wrong.mean(),
        "trusted": len(selection),
        "sum of the trusted ids": selection.labelled.sum(),
        "wrong among trusted": wrong[selection.clean].mean(),
    }


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    result = run(*map(int, sys.argv[1:]))
    rank = distributed.get_rank()
    # At one go, as all ranks write into the same terminal.
    sys.stdout.write(
        "".join(f"rank {rank}: {name:22} {value:.6g}\n" for name, value in result.items())
    )
    distributed.destroy_process_group()
