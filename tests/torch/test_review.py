"""Plain-loop oracles of what only runs through: Co-teaching, SCAN, and VRLV without variation."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from noisyselect import GMMSelector, TrainingLog, VRLVSelector, open_run
from noisyselect.checks import synthetic_log
from noisyselect.torch import Settings, SmallMLP, train
from noisyselect.torch.coteaching import coteaching_epoch
from noisyselect.torch.data.pool import balanced_pool
from noisyselect.torch.inputs import Pixels, Views
from noisyselect.torch.learner import Learner
from noisyselect.torch.mixmatch import Draws, warm_up_epoch
from noisyselect.torch.pretrain import pretrained, scan_epoch
from noisyselect.torch.pretrain.simclr import simclr_rate
from noisyselect.torch.trainer import run as trainer
from noisyselect.torch.trainer.samples import EpochSamples

CPU = torch.device("cpu")
PLAIN = Settings(batch_size=10, augment=False, lr=0.1, precision="float32")


def features(n=50, n_features=6, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    values = rng.normal(size=(n, 1, n_features)) + labels[:, None, None]
    return Views(values.astype(np.float32), CPU), torch.from_numpy(labels)


def learner(seed, settings=PLAIN):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Learner("a", SmallMLP(6, 3, hidden=(8, 8)), settings, CPU)


def same_weights(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    for mine, expected in pairs:
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def sgd(module, settings=PLAIN):
    return torch.optim.SGD(
        module.parameters(),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def momenta(network):
    return [slots["momentum_buffer"] for slots in network.optimiser.state.values()]


def nats(logits, label):
    """Cross-entropy of one sample, from its definition."""
    return logits.logsumexp(0) - logits[label]


@pytest.mark.parametrize("forgotten", [0.0, 0.3, 0.96])
def test_an_epoch_of_coteaching_hands_each_networks_small_losses_to_the_other(forgotten):
    inputs, labels = features()
    networks = [learner(seed) for seed in (1, 2)]
    modules = [copy.deepcopy(network.module).train() for network in networks]
    optimisers = [sgd(module) for module in modules]
    epoch = coteaching_epoch(networks, inputs, labels, forgotten, PLAIN, Draws.of(0, 4, 0, CPU))

    order = torch.randperm(50, generator=Draws.of(0, 4, 0, CPU).order)
    kept, means = [set(), set()], [[], []]
    for rows in (order[:17], order[17:34], order[34:]):
        n = max(1, int((1 - forgotten) * len(rows)))
        batch = inputs.normalise(inputs.values[rows, 0])
        losses = [
            [nats(logits, labels[row]) for logits, row in zip(module(batch), rows, strict=True)]
            for module in modules
        ]
        easiest = [sorted(range(len(rows)), key=lambda i, of=of: of[i].item())[:n] for of in losses]
        for mine, (module_losses, optimiser) in enumerate(zip(losses, optimisers, strict=True)):
            taught = easiest[1 - mine]
            loss = sum(module_losses[i] for i in taught) / n
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            means[mine].append(loss.item())
            kept[mine] |= {int(rows[i]) for i in taught}

    for mine in (0, 1):
        same_weights(networks[mine].module, modules[mine])
        assert epoch.losses[mine].tolist() == pytest.approx(means[mine], rel=1e-5)
        assert set(epoch.kept[mine].nonzero()[:, 0].tolist()) == kept[mine]
    # Else an exchange could not be told from none.
    assert forgotten == 0 or kept[0] != kept[1]


@pytest.mark.parametrize("predicted", [True, False])
def test_an_epoch_of_scan_descends_on_equation_12(predicted):
    inputs, _ = features(n=21)
    network = learner(3).module
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = nn.Linear(8, 4)
    plain_network, plain_head = copy.deepcopy(network), copy.deepcopy(head)

    def optimiser_of(*parts):
        weights = [weight for part in parts for weight in part.parameters()]
        return torch.optim.SGD(weights, 0.05, momentum=0.9, weight_decay=5e-4)

    # Of the candidates one alone is predicted the class of its row: nothing is left to chance.
    one_of = torch.tensor([[(i + 3) % 21, (i + 1) % 21] for i in range(21)])
    classes = torch.arange(21) % 3
    near, wanted = (one_of, one_of[:, 0]) if predicted else (one_of[:, 1:], one_of[:, 1])
    losses = scan_epoch(
        network, head, optimiser_of(network, head), inputs, near, classes if predicted else None,
        batch_size=8, lambda_e=1.5, draws=Draws.of(0, 0, 2, CPU), strong=False,
    )  # fmt: skip

    draws = Draws.of(0, 0, 2, CPU)
    order = torch.randperm(21, generator=draws.order)
    optimiser = optimiser_of(plain_network, plain_head)
    plain_network.train()
    for step, rows in enumerate((order[:7], order[7:14], order[14:])):
        torch.rand((7, near.shape[1]), generator=draws.pixels)
        both = inputs.values[torch.cat([rows, wanted[rows]]), 0]
        torch.randint(1, (14,), generator=draws.pixels)  # of one view each
        batch = inputs.normalise(inputs.augment(both, draws.pixels))
        answers = plain_head(plain_network.hidden(batch)).softmax(dim=1)
        agreement = [-(answers[i] @ answers[7 + i]).log() for i in range(7)]
        mean = answers[:7].mean(dim=0)
        loss = sum(agreement) / 7 - 1.5 * -(mean * mean.log()).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert float(losses[step]) == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    same_weights(network, plain_network)
    same_weights(head, plain_head)


def test_a_network_starts_from_clusters_with_both_classifiers_and_fresh_momenta():
    inputs, labels = features()
    settings = replace(PLAIN, ema=0.5)
    network, source, head = learner(5, settings), learner(6).module, nn.Linear(8, 3)
    warm_up_epoch(network, inputs, labels, settings, Draws.of(0, 0, 0, CPU), penalise=False)
    assert all(momentum.any() for momentum in momenta(network))
    network.start_from(source.state_dict(), head.state_dict())
    assert not any(momentum.any() for momentum in momenta(network))
    same_weights(network.module.hidden, source.hidden)
    for classifier in (network.module.classifier, network.head):
        same_weights(classifier, head)
    assert network.head.weight is not network.module.classifier.weight
    same_weights(network.tested, network.module)
    # The running mean starts anew as well: after one step it is that step's weights.
    network.descend(network.logits(torch.ones(4, 6)).square().sum())
    same_weights(network.tested, network.module)
    # A clustering step reaches features and head, and leaves the classifier.
    before = copy.deepcopy(network.module.state_dict()), copy.deepcopy(network.head.state_dict())
    near = torch.roll(torch.arange(50), 1)[:, None]
    scan_epoch(
        network.module, network.head, network.clustering_optimiser(0.1), inputs, near, None,
        batch_size=25, lambda_e=2.0, draws=Draws.of(0, 0, 2, CPU), strong=False,
        forward=network.through_head,
    )  # fmt: skip
    moved = {name for name, value in network.module.named_parameters()
             if not torch.equal(value, before[0][name])}  # fmt: skip
    assert moved == {n for n, _ in network.module.named_parameters() if "classifier" not in n}
    assert not torch.equal(network.head.weight, before[1]["weight"])


def test_scan_warm_up_fits_the_classifier_alone_while_statistics_move():
    rng = np.random.default_rng(0)
    images = Pixels(rng.integers(0, 255, (40, 1, 8, 8), dtype=np.uint8), CPU)
    labels = torch.arange(40) % 3

    def made():
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
            )

    network, plain = Learner("a", made(), PLAIN, CPU), made()
    with network.only_classifier():
        warm_up_epoch(network, images, labels, PLAIN, Draws.of(0, 0, 0, CPU), penalise=False)

    order = torch.randperm(40, generator=Draws.of(0, 0, 0, CPU).order)
    optimiser = sgd(plain[4])
    plain.train()
    for rows in (order[:20], order[20:]):
        with torch.no_grad():
            given = plain[:4](images.normalise(images.values[rows]))
        logits = plain[4](given)
        loss = sum(nats(answer, label) for answer, label in zip(logits, labels[rows], strict=True))
        optimiser.zero_grad()
        (loss / 20).backward()
        optimiser.step()
    same_weights(network.module, plain)
    assert not torch.equal(network.module[1].running_mean, torch.zeros(4))
    assert all(weight.requires_grad for weight in network.module.parameters())


def pair_of_logs(seed):
    log_a, _ = synthetic_log(300, 6, 4, 0.4, 0.5, seed=seed)
    log_b, _ = synthetic_log(300, 6, 4, 0.35, 0.5, seed=seed + 50)
    near = log_a.neighbours[:, :4]
    # Classes of several sizes, so that some have a surplus and some fall short.
    labels = np.where((log_a.labels == 3) & (np.arange(300) % 3 > 0), 0, log_a.labels)
    return (replace(log, labels=labels, neighbours=near, n_classes=4) for log in (log_a, log_b))


@pytest.mark.parametrize("clean_rate", [None, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_vrlv_without_variation_is_two_mixtures_balanced_by_plain_loops(seed, clean_rate):
    log_a, log_b = pair_of_logs(seed)
    g_a, g_b = (GMMSelector().select(log) for log in (log_a, log_b))
    labels, near = log_a.labels.tolist(), log_a.neighbours.tolist()
    rho = g_a.clean.mean() if clean_rate is None else clean_rate
    core = {i for i in range(300) if g_a.clean[i] and g_b.clean[i]}
    rule = VRLVSelector(window=4, variation=False, clean_rate=clean_rate, n_neighbors=4)
    seen = set()
    for answer, source, loss in zip(
        rule.select_pair(log_a, log_b),
        (g_b.clean, g_a.clean),
        (log_b.losses[-1], log_a.losses[-1]),
        strict=True,
    ):
        assert {i for i in range(300) if answer.reason[i] == "core"} == core
        made = np.bincount(answer.synthetic.labels, minlength=4).tolist()
        chosen = set(core)
        for c in range(4):
            anchors = [i for i in core if labels[i] == c]
            quota = max(0, int(rho * 300 / 4 + 1e-9) - len(anchors))
            mine = [i for i in range(300) if source[i] and i not in core and labels[i] == c]
            mine.sort(key=lambda i: loss[i])
            if len(mine) > quota:
                votes = {i: [labels[j] for j in near[i] if j in core] for i in mine}
                alone = [i for i in mine if not votes[i]]
                mine = [i for i in mine if 2 * votes[i].count(c) > len(votes[i])] + alone
                seen.add("edited")
            fill = mine[:quota]
            chosen |= set(fill)
            pairs = any(not source[j] for i in anchors for j in near[i])
            assert made[c] == (quota - len(fill) if pairs else 0)
            seen |= {"mixed"} if made[c] else set()
        assert set(np.flatnonzero(answer.clean)) == chosen
        counts = [sum(labels[i] == c for i in chosen) + made[c] for c in range(4)]
        for i in chosen:
            weight = sum(counts) / (4 * counts[labels[i]])
            assert answer.weights[i] == pytest.approx(weight)
        assert set(answer.synthetic.anchors) <= core
        assert not source[answer.synthetic.partners].any()
        assert (answer.trust[sorted(core)] == 1).all()
    assert seen >= ({"edited"} if clean_rate is None else {"mixed"})


def test_vrlv_without_variation_asks_for_no_history_and_ignores_changes_of_the_rate():
    log_a, log_b = pair_of_logs(2)
    rule = VRLVSelector(window=4, variation=False, n_neighbors=4)
    long = rule.select_pair(log_a, log_b)
    assert long == rule.select_pair(
        *(replace(log, lr=[1, 1, 1, 1, 1, 0.1]) for log in (log_a, log_b))
    )

    def last(log):
        return TrainingLog(
            labels=log.labels, losses=log.losses[-1:], predictions=log.predictions[-1:],
            neighbours=log.neighbours, epochs=log.epochs[-1:], n_classes=4,
        )  # fmt: skip

    assert long == rule.select_pair(last(log_a), last(log_b))


def test_each_phase_of_pretraining_has_its_rates_and_decay(tmp_path, monkeypatch):
    seen = []

    def noting(network, head, optimiser, inputs, *_, **__):
        (group,) = optimiser.param_groups
        seen.append((group["lr"], group["weight_decay"], group["momentum"]))
        return torch.zeros(1)

    monkeypatch.setattr(pretrained, "simclr_epoch", noting)
    monkeypatch.setattr(pretrained, "scan_epoch", noting)
    settings = replace(PLAIN, pretrain_epochs=20, clustering_epochs=2, scan_lr=0.003, n_neighbors=2)
    pretrained.pretrain(
        features()[0], lambda: SmallMLP(6, 3, hidden=(8, 8)), 3, settings, CPU, tmp_path,
        cluster=True,
    )  # fmt: skip
    rates = [simclr_rate(0.4, epoch, 20) for epoch in range(20)]
    assert seen == [(rate, 1e-4, 0.9) for rate in rates] + [(0.003, 5e-4, 0.9)] * 2


def test_a_pool_keeps_its_samples_for_three_windows_and_the_first_ones_scale(blobs):
    settings = replace(PLAIN, epoch_samples=30, window=2)
    samples = EpochSamples(blobs, settings, CPU)
    first = samples.inputs(0)
    for epoch in (1, 8, 9):
        expected = balanced_pool(blobs.labels, 3, 30, epoch, 9, settings.seed)
        assert samples.rows(epoch).tolist() == expected.tolist()
        inputs = samples.inputs(epoch)
        assert np.array_equal(inputs.values.numpy(), blobs.inputs[expected])
        assert torch.equal(inputs.mean, first.mean) and torch.equal(inputs.std, first.std)
        assert samples.labels(epoch).tolist() == blobs.labels[expected].tolist()
    assert not torch.equal(first.values, inputs.values)


@pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")
def test_the_noise_rate_is_the_mean_of_both_mixtures_after_warm_up(blobs, small_network, tmp_path):
    settings = replace(PLAIN, method="coteaching", epochs=3, warm_up=2)
    result = train(blobs, settings, tmp_path / "run", network=small_network)
    kept = [
        GMMSelector().select(open_run(result.run).log(name).until(2)).clean.mean() for name in "ab"
    ]
    assert kept[0] != kept[1]
    assert result.epochs[1].measures["noise_rate"] == pytest.approx(1 - sum(kept) / 2)


@pytest.mark.filterwarnings("ignore::noisyselect.errors.DegenerateWarning")
def test_the_restart_takes_one_more_warm_up_and_clusters_as_asked(
    blobs, small_network, tmp_path, monkeypatch
):
    seen = []
    original = trainer.scan_epoch

    def noting(*args, **options):
        seen.append((options["batch_size"], options["lambda_e"], options["strong"]))
        return original(*args, **options)

    monkeypatch.setattr(trainer, "scan_epoch", noting)
    monkeypatch.setattr(trainer._Run, "_estimated_noise_rate", lambda *_: 0.7)
    settings = replace(
        PLAIN, epochs=5, warm_up=2, pretrain_epochs=1, clustering_epochs=1, n_neighbors=3,
        scan_batch_size=45, lambda_e=1.25,
    )  # fmt: skip
    result = train(blobs, settings, tmp_path / "run", network=small_network)
    phases = [epoch.phase for epoch in result.epochs]
    assert phases == ["warm-up"] * 2 + ["scan warm-up"] * 2 + ["vrlvmix"]
    assert seen == [(45, 1.25, True)] * 2
