import math

import pytest
import torch
from torch import nn

from noisyselect.torch.inputs import Pixels
from noisyselect.torch.mixmatch import Draws
from noisyselect.torch.models import SmallCNN, through_head
from noisyselect.torch.pretrain.scan import draw_neighbours, scan_epoch, scan_loss

CPU = torch.device("cpu")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_scan_loss(anchors, neighbours, lambda_e):
    """The formula, term by term."""
    a, b = anchors.softmax(dim=1), neighbours.softmax(dim=1)
    consistency = [-math.log(sum(p * q)) for p, q in zip(a, b, strict=True)]
    mean = [sum(column) / len(a) for column in zip(*a.tolist(), strict=True)]
    entropy = -sum(p * math.log(p) for p in mean)
    return sum(consistency) / len(consistency) - lambda_e * entropy


@pytest.mark.parametrize("lambda_e", [0.0, 2.0, 5.0])
def test_the_loss_is_the_formula(lambda_e):
    anchors, neighbours = 2 * normal(7, 4), 2 * normal(7, 4, seed=1)
    expected = slow_scan_loss(anchors, neighbours, lambda_e)
    assert scan_loss(anchors, neighbours, lambda_e).item() == pytest.approx(expected, abs=1e-12)
    single = scan_loss(anchors.float(), neighbours.float(), lambda_e)
    assert single.item() == pytest.approx(expected, abs=1e-5)
    assert scan_loss(anchors.bfloat16(), neighbours.bfloat16(), lambda_e).dtype == torch.float32


def test_the_gradient_is_that_of_finite_differences():
    anchors, neighbours = normal(5, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: scan_loss(a, b, 2.0), (anchors, neighbours))


def test_sure_agreement_on_equal_clusters_is_the_least_loss():
    logits = 100 * torch.eye(4)
    assert scan_loss(logits, logits, 3.0).item() == pytest.approx(-3 * math.log(4), abs=1e-5)


def test_sure_contradiction_has_a_finite_loss_and_gradient():
    anchors = (1e4 * torch.eye(3)).requires_grad_()
    loss = scan_loss(anchors, 1e4 * torch.eye(3).roll(1, dims=0), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-3)
    assert torch.isfinite(anchors.grad).all() and anchors.grad.abs().sum() > 0


def drawn(neighbours, predictions, row, n=4000):
    rows = torch.full((n,), row)
    labels = None if predictions is None else torch.tensor(predictions)
    generator = torch.Generator().manual_seed(0)
    chosen = draw_neighbours(torch.tensor(neighbours), labels, rows, generator)
    assert chosen.dtype == torch.int64
    return {who: chosen.tolist().count(who) / n for who in set(chosen.tolist())}


NEIGHBOURS = [[1, 2, 3, 4], [0, 2, -1, -1], [-1, -1, -1, -1], [0, 1, 2, 4], [3, -1, -1, 0]]


def test_neighbours_are_drawn_evenly_from_those_predicted_the_same_class():
    shares = drawn(NEIGHBOURS, [0, 0, 1, 0, 0], 0)
    assert shares == pytest.approx({1: 1 / 3, 3: 1 / 3, 4: 1 / 3}, abs=0.03)


def test_all_neighbours_will_do_without_predictions_or_where_none_agrees():
    everyone = pytest.approx(dict.fromkeys((1, 2, 3, 4), 0.25), abs=0.03)
    assert drawn(NEIGHBOURS, None, 0) == everyone
    assert drawn(NEIGHBOURS, [0, 1, 1, 2, 2], 0) == everyone


def test_what_is_missing_is_never_drawn_and_a_row_without_neighbours_draws_itself():
    assert drawn(NEIGHBOURS, None, 1) == pytest.approx({0: 0.5, 2: 0.5}, abs=0.03)
    # The last sample has the class of row 1, and is what -1 would point to.
    assert set(drawn(NEIGHBOURS, [0, 4, 1, 3, 4], 1)) == {0, 2}
    assert drawn(NEIGHBOURS, None, 2) == drawn(NEIGHBOURS, [0] * 5, 2) == {2: 1.0}


def test_rows_of_one_batch_draw_on_their_own():
    rows = torch.tensor([4, 1, 2])
    many = torch.stack(
        [
            draw_neighbours(torch.tensor(NEIGHBOURS), None, rows, torch.Generator().manual_seed(i))
            for i in range(60)
        ]
    )
    assert {tuple(row) for row in many.tolist()} == {(a, b, 2) for a in (0, 3) for b in (0, 2)}


def setting():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, head = SmallCNN(1, 3, width=4, n_hidden=16), nn.Linear(16, 4)
    optimiser = torch.optim.SGD([*network.parameters(), *head.parameters()], 0.05)
    return network, head, optimiser, Pixels(images.numpy(), CPU)


@pytest.mark.parametrize("strong", [True, False])
def test_an_epoch_has_every_sample_as_anchor_beside_its_neighbour(strong):
    network, head, optimiser, inputs = setting()
    ring = ((torch.arange(30) + 1) % 30)[:, None]
    seen = []

    def forward(network, head, batch):
        seen.append(batch)
        return through_head(network, head, batch)

    losses = scan_epoch(
        network, head, optimiser, inputs, ring, None, batch_size=8, lambda_e=2.0,
        draws=Draws.of(0, 0, 3, CPU), strong=strong, forward=forward,
    )  # fmt: skip
    assert losses.shape == (4,) and not losses.requires_grad
    assert [len(batch) for batch in seen] == [16, 16, 14, 14]
    draws = Draws.of(0, 0, 3, CPU)
    rows = torch.randperm(30, generator=draws.order)[:8]
    near = draw_neighbours(ring, None, rows, draws.pixels)
    assert torch.equal(near, (rows + 1) % 30)
    augment = inputs.augment_strongly if strong else inputs.augment
    raw = inputs.raw(torch.cat([rows, near]))
    assert torch.equal(seen[0], inputs.normalise(augment(raw, draws.pixels)))


def test_an_epoch_leaves_the_classifier_alone_and_trains_all_else():
    network, head, optimiser, inputs = setting()
    both = nn.ModuleDict({"network": network, "head": head})
    before = {name: value.clone() for name, value in both.named_parameters()}
    near = torch.randint(30, (30, 5), generator=torch.Generator().manual_seed(1))
    scan_epoch(
        network, head, optimiser, inputs, near, torch.arange(30) % 3, batch_size=16,
        lambda_e=2.0, draws=Draws.of(0, 0, 3, CPU),
    )  # fmt: skip
    same = {name for name, value in both.named_parameters() if torch.equal(value, before[name])}
    assert same == {"network.classifier.weight", "network.classifier.bias"}
