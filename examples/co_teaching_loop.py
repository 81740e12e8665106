"""Co-teaching in a plain PyTorch loop: in each batch, a network learns from what the other chose.

Digits with 40 % wrong labels, beside cross-entropy on all of them. Nothing is recorded: the choice
is made inside the step, on the device. Run: python examples/co_teaching_loop.py
"""

import torch
from torch import nn
from torch.nn import functional

from noisyselect.selectors.co_teaching import CoTeachingSelector
from noisyselect.torch import load_data, select_batch, with_noise


def make_network():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    return network, torch.optim.Adam(network.parameters(), lr=0.005)


def descend(optimiser, losses, kept):
    optimiser.zero_grad()
    # `losses[kept].mean()` would be the same, but wait for the device.
    (torch.where(kept, losses, 0).sum() / kept.sum()).backward()
    optimiser.step()


@torch.no_grad()
def accuracy(network, images, labels):
    return (network(images).argmax(dim=1) == labels).float().mean().item()


def run(n_epochs=60, seed=0):
    torch.manual_seed(seed)
    data = with_noise(load_data("digits"), "sym-others", 0.4, seed=seed)
    images, labels = torch.tensor(data.inputs) / 255, torch.tensor(data.labels)
    wrong = torch.tensor(data.labels != data.true_labels)

    # Co-teaching is told the noise rate; else take the share that GMMSelector keeps of an epoch.
    selector = CoTeachingSelector(clean_rate=0.6, n_gradual=10)
    (net_a, optimiser_a), (net_b, optimiser_b), (plain, plain_optimiser) = (
        make_network() for _ in range(3)
    )
    for epoch in range(n_epochs):
        n_kept, n_wrong = 0, 0
        for rows in torch.randperm(len(images)).split(128):
            a, b, on_all = (
                functional.cross_entropy(network(images[rows]), labels[rows], reduction="none")
                for network in (net_a, net_b, plain)
            )
            for_a = select_batch(selector, losses=a, peer_losses=b, epoch=epoch)
            for_b = select_batch(selector, losses=b, peer_losses=a, epoch=epoch)
            descend(optimiser_a, a, for_a)
            descend(optimiser_b, b, for_b)
            descend(plain_optimiser, on_all, torch.ones_like(for_a))
            n_kept, n_wrong = n_kept + for_a.sum(), n_wrong + (for_a & wrong[rows]).sum()

    test_images, test_labels = torch.tensor(data.test_inputs) / 255, torch.tensor(data.test_labels)
    return {
        "wrong among all": wrong.float().mean().item(),
        "wrong among selected, last epoch": (n_wrong / n_kept).item(),
        "test accuracy, Co-teaching": accuracy(net_a, test_images, test_labels),
        "test accuracy, all labels": accuracy(plain, test_images, test_labels),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:33} {value:.3f}")
