import math

import numpy as np
import pytest
import torch

from noisyselect.torch.inputs import Pixels, Views
from noisyselect.torch.mixmatch import Draws
from noisyselect.torch.models import SmallCNN, SmallMLP, through_head
from noisyselect.torch.pretrain.simclr import (
    ProjectionHead,
    nt_xent,
    projections,
    simclr_epoch,
    simclr_rate,
)

CPU = torch.device("cpu")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_nt_xent(first, second, temperature):
    """The formula, term by term."""
    views = [view / view.norm() for view in (*first, *second)]
    n, losses = len(first), []
    for i, anchor in enumerate(views):
        positive = math.exp(anchor @ views[(i + n) % (2 * n)] / temperature)
        others = sum(math.exp(anchor @ z / temperature) for k, z in enumerate(views) if k != i)
        losses.append(-math.log(positive / others))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("n", "temperature"), [(5, 0.1), (8, 0.5), (1, 0.1)])
def test_nt_xent_is_the_formula(n, temperature):
    first, second = normal(n, 6), normal(n, 6, seed=1)
    loss = nt_xent(first, second, temperature)
    assert loss.item() == pytest.approx(slow_nt_xent(first, second, temperature), abs=1e-5)
    assert nt_xent(second, 3 * first, temperature).item() == pytest.approx(loss.item(), abs=1e-5)


def test_nt_xent_of_views_that_are_all_alike_is_the_log_of_the_others():
    same = torch.ones(4, 3)
    assert nt_xent(same, same).item() == pytest.approx(math.log(7), abs=1e-6)


def test_nt_xent_stays_finite_where_exponentials_do_not():
    first = normal(6, 4).requires_grad_()
    loss = nt_xent(first, -first.detach(), temperature=1e-3)
    loss.backward()
    assert loss > 500
    assert torch.isfinite(loss) and torch.isfinite(first.grad).all()


def test_nt_xent_computes_in_32_bits_under_autocast():
    first, second = normal(40, 16).float(), normal(40, 16, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(first, second)
    assert torch.equal(loss, nt_xent(first, second))


def test_the_rate_rises_for_ten_epochs_and_falls_along_a_cosine_to_a_thousandth():
    rates = [simclr_rate(0.4, epoch, 200) for epoch in range(200)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[4] == pytest.approx(0.2, rel=0.01)
    assert rates[50] == pytest.approx(0.0004 + 0.3996 * (1 + math.sqrt(0.5)) / 2)
    assert rates[100] == pytest.approx(0.2002)
    assert rates[199] == pytest.approx(0.0004, rel=0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert simclr_rate(0.4, 0, 1) == simclr_rate(0.4, 0, 9) == 0.4


def pixels():
    """50 images of a bright spot at a place and of a size of its own."""
    places = normal(50, 3).numpy()
    at = np.arange(8) - 3.5
    gap = (at[:, None] - 2 * places[:, 0, None, None]) ** 2 + (
        at - 2 * places[:, 1, None, None]
    ) ** 2
    spots = 255 * np.exp(-gap / (1 + 3 * places[:, 2, None, None] ** 2))
    return Pixels(spots[:, None].astype(np.uint8), CPU)


def made(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, head = SmallCNN(1, 3, width=4, n_hidden=16), ProjectionHead(16, 8)
    weights = [*network.parameters(), *head.parameters()]
    return network, head, torch.optim.SGD(weights, 0.05, momentum=0.9)


def test_an_epoch_is_one_forward_pass_of_both_views_of_every_sample_per_step():
    network, head, optimiser = made()
    inputs, seen = pixels(), []

    def forward(network, head, batch):
        seen.append(batch)
        return through_head(network, head, batch)

    losses = simclr_epoch(
        network, head, optimiser, inputs, batch_size=20, draws=Draws.of(0, 0, 2, CPU),
        forward=forward,
    )  # fmt: skip
    assert losses.shape == (3,) and not losses.requires_grad
    assert [len(batch) for batch in seen] == [34, 34, 32]
    # The same samples, by another draw.
    draws = Draws.of(0, 0, 2, CPU)
    rows = torch.randperm(50, generator=draws.order)[:17]
    raw = inputs.raw(torch.cat([rows, rows]))
    assert torch.equal(seen[0], inputs.normalise(inputs.augment_contrastively(raw, draws.pixels)))
    assert not torch.equal(seen[0][:17], seen[0][17:])


def test_an_epoch_leaves_the_classifier_alone_and_trains_all_else():
    network, head, optimiser = made()
    before = {name: value.clone() for name, value in network.named_parameters()}
    simclr_epoch(network, head, optimiser, pixels(), batch_size=64, draws=Draws.of(0, 0, 2, CPU))
    same = {name for name, value in network.named_parameters() if torch.equal(value, before[name])}
    assert same == {"classifier.weight", "classifier.bias"}


def test_epochs_bring_views_of_one_sample_together():
    network, head, optimiser = made()
    losses = [
        simclr_epoch(
            network, head, optimiser, pixels(), batch_size=64, draws=Draws.of(0, epoch, 2, CPU)
        ).mean()
        for epoch in range(40)
    ]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.5


def test_features_have_views_and_a_batch_of_all_where_they_are_few():
    inputs = Views(normal(6, 2, 5).float().numpy(), CPU)
    network, head = SmallMLP(5, 3, hidden=(8, 4)), ProjectionHead(4, 8)
    optimiser = torch.optim.SGD([*network.parameters(), *head.parameters()], 0.1)
    losses = simclr_epoch(
        network, head, optimiser, inputs, batch_size=512, draws=Draws.of(0, 0, 2, CPU)
    )
    assert losses.shape == (1,) and torch.isfinite(losses).all()


def test_projections_are_those_of_plain_samples_in_evaluation_mode_and_of_length_1():
    network, head, _ = made()
    inputs = pixels()
    found = projections(network, head, inputs, batch_size=20)
    assert found.shape == (50, 8) and not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(50))
    one = through_head(network.eval(), head, inputs.normalise(inputs.values[7:8]))[0]
    torch.testing.assert_close(found[7], one / one.norm())
