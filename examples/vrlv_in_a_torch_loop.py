"""VRLV in a PyTorch loop of your own: record what two networks show, train each on its selection.

Plain cross-entropy on the labels that VRLV trusts, on digits of whose labels 36 % are wrong. Run:
python examples/vrlv_in_a_torch_loop.py
"""

import torch
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from noisyselect import MemoryBank, VRLVSelector
from noisyselect.torch import SelectedSamples, SmallCNN, load_data, with_noise


def train_one_epoch(network, optimiser, batches):
    network.train()
    for images, labels in batches:
        loss = functional.cross_entropy(network(images / 255), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def record(bank, network, images, labels):
    """Show the bank every sample by its id, which here is its row, in evaluation mode."""
    network.eval()
    for ids in torch.arange(len(images)).split(500):
        features = network.hidden(network.convolutions(images[ids] / 255))
        logits = network.classifier(features)
        losses = functional.cross_entropy(logits, labels[ids], reduction="none")
        bank.record(ids, losses=losses, predictions=logits.argmax(dim=1), features=features)
    bank.end_epoch(lr=0.02)


def run(n_epochs=30, warm_up=8, seed=0):
    torch.manual_seed(seed)
    data = with_noise(load_data("digits"), "sym", 0.4, seed=seed)
    images, labels = torch.tensor(data.inputs), torch.tensor(data.labels)

    selector = VRLVSelector(random_state=seed)
    networks = [SmallCNN(1, 10), SmallCNN(1, 10)]
    optimisers = [torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9) for net in networks]
    banks = [MemoryBank(data.labels, n_classes=10, window=selector.history) for _ in networks]

    for epoch in range(n_epochs):
        if epoch >= warm_up:
            selections = selector.select_pair(banks[0].log(), banks[1].log())
        for i in (0, 1):
            if epoch < warm_up:
                rows = torch.randperm(len(images)).split(128)
                batches = ((images[batch], labels[batch]) for batch in rows)
            else:
                chosen = SelectedSamples(images, data.labels, selections[i])
                rows = BatchSampler(RandomSampler(chosen), batch_size=128, drop_last=True)
                loader = DataLoader(chosen, sampler=map(torch.tensor, rows), batch_size=None)
                batches = ((mixed, given) for mixed, given, trust in loader)
            train_one_epoch(networks[i], optimisers[i], batches)
            record(banks[i], networks[i], images, labels)

    test_inputs = torch.tensor(data.test_inputs) / 255
    with torch.no_grad():
        mean = sum(network.eval()(test_inputs).softmax(dim=1) for network in networks)
    wrong = data.labels != data.true_labels
    return {
        "wrong among all": wrong.mean(),
        "wrong among selected": wrong[selections[0].clean].mean(),
        "test accuracy": (mean.argmax(dim=1).numpy() == data.test_labels).mean(),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:22} {value:.3f}")
