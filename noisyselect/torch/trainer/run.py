"""A run: from the data to the last closed epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisyselect.arrays import IntArray
from noisyselect.bank import MemoryBank
from noisyselect.errors import DegenerateWarning, NonFiniteLossError
from noisyselect.log import TrainingLog
from noisyselect.selection import Selection
from noisyselect.selector import Selector
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.vrlv import VRLVSelector
from noisyselect.store import RunWriter, open_run
from noisyselect.torch.checkpoint import (
    load_checkpoint,
    load_training_state,
    part,
    save_checkpoint,
    training_state,
)
from noisyselect.torch.coteaching import coteaching_epoch
from noisyselect.torch.data import TrainingData
from noisyselect.torch.distributed import Shards, local_rank, process_group
from noisyselect.torch.evaluation import (
    Evaluation,
    accuracy,
    all_features,
    evaluate,
    evaluate_second_view,
)
from noisyselect.torch.inputs import SelectedSamples
from noisyselect.torch.learner import Learner
from noisyselect.torch.measures import memorised, selection_measures
from noisyselect.torch.mixmatch import Draws, TrainedEpoch, mixmatch_epoch, warm_up_epoch
from noisyselect.torch.models import classifier_of, make_network
from noisyselect.torch.neighbours import find_neighbours
from noisyselect.torch.pretrain import Pretrained, PretrainEpoch, pretrain, scan_epoch
from noisyselect.torch.seeding import seeded
from noisyselect.torch.settings import Settings
from noisyselect.torch.trainer.choice import class_weights, neighbours_needed, selector_of
from noisyselect.torch.trainer.columns import Columns
from noisyselect.torch.trainer.result import NAMES, EpochResult, TrainResult
from noisyselect.torch.trainer.same import check_same_run, describe
from noisyselect.torch.trainer.samples import EpochSamples

# Estimated share of wrong labels above which the paper switches semantic clustering on.
_SCAN_NOISE_RATE = 0.6
# Learning rate of ScanMix's clustering below it.
_GENTLE_SCAN_LR = 1e-5


def train(
    data: TrainingData,
    settings: Settings,
    out: str | Path,
    *,
    network: Callable[[], nn.Module] | None = None,
    selector: Selector | None = None,
    neighbours: IntArray | None = None,
    pretrained: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[EpochResult], None] | None = None,
    on_pretrain: Callable[[PretrainEpoch], None] | None = None,
) -> TrainResult:
    """Train two networks on partly wrong labels and write down what they show of every sample.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    out : path
        The run directory; it must not exist yet, unless `resume`.
    network : callable, optional
        Returns a new network that maps images (batch, channels, height, width), or features (batch,
        n_features), to logits (batch, n_classes). By default what `settings.network` names.
    selector : Selector, optional
        By default `VRLVSelector` for ``"vrlvmix"``, for which it must be one; `GMMSelector` for
        ``"dividemix"`` and ``"scanmix"``, and `VRLVPlusSelector` for ``"vrlvmix-plus"``, which take
        any. All are made with what `settings` say of them.
        The logs it reads have what it declares to need, whether `settings.record` has it or not.
    neighbours : array of int, shape (n_samples, k), optional
        Row positions of the neighbours of each training sample. By default, where they are read,
        those of the given features, of SimCLR's projections, or, of images without pre-training, of
        network a's features at the end of warm-up (with `settings.epoch_samples` after every
        epoch).
    pretrained : path, optional
        Folder where the results of pre-training are kept and looked for, to share them between runs
        on the same inputs. By default ``pretrained`` in the run directory.
    device : str, default="auto"
        As torch names it; ``"auto"`` is ``"cuda"`` where there is one, else ``"cpu"``.
    resume : bool, default=False
        Go on after the last closed epoch of the run in `out`, or start it if there is none. On a
        CPU the result is that of the unbroken run, bit for bit.
    on_epoch : callable, optional
        Called with an `EpochResult` when an epoch has been closed and written; of several
        processes in the first alone.
    on_pretrain : callable, optional
        Called with a `noisyselect.torch.pretrain.PretrainEpoch` after each epoch of SimCLR and SCAN
        that is computed and not taken from `pretrained`; in the first process alone.

    Returns
    -------
    TrainResult

    Raises
    ------
    NonFiniteLossError
        If a step's loss is NaN or infinite. The epoch is not closed; the last checkpoint stays.
    ValueError
        If a run is resumed with other settings, selector, labels or network; or if `selector` does
        not suit the method.

    Warns
    -----
    DegenerateWarning
        If nothing is labelled for a network: it trains that epoch as in warm-up.

    Notes
    -----
    Before each epoch after warm-up the selector reads the logs of both networks, and each network
    trains on its selection: with VRLVMix on its own, with DivideMix on the peer's. VRLVMix plus
    trains on all samples and takes only `trust` from a selection. The clean rate of VRLVMix is
    estimated once, as the share that the mixture keeps of network a's losses at the end of warm-up,
    unless `selector` has one.

    Started by ``torchrun``, all processes call this alike. They train as one on batches of the same
    size, make the same selections, and the first one writes.
    """
    with process_group(_device(device)) as shards:
        run = _Run(
            data, settings, Path(out), network, selector, neighbours, _device(device), shards
        )
        run.on_pretrain = on_pretrain if shards.rank == 0 else None
        run.open(resume)
        run.prepare(Path(pretrained or run.path / "pretrained"))
        for result in run.epochs():
            if on_epoch is not None and shards.rank == 0:
                on_epoch(result)
    modules = [network.module for network in run.networks]
    return TrainResult(run.path, settings, tuple(run.history), (modules[0], modules[1]))


class _Run:
    """A run in progress. What it needs to go on is what `_save` writes and `_restore` reads."""

    def __init__(
        self,
        data: TrainingData,
        settings: Settings,
        path: Path,
        network: Callable[[], nn.Module] | None,
        selector: Selector | None,
        neighbours: IntArray | None,
        device: torch.device,
        shards: Shards,
    ) -> None:
        self.data, self.settings, self.path = data, settings, path
        self.device, self.shards = device, shards
        self.selector = selector_of(settings, selector)
        self.columns = Columns(settings, self.selector)
        self.described = describe(data, settings, self.selector, neighbours, device)
        self.neighbours, self._given_neighbours = neighbours, neighbours is not None
        self.samples = EpochSamples(data, settings, device)
        self.test_labels = torch.from_numpy(data.test_labels.copy()).to(device)
        self._make = network or (
            lambda: make_network(
                settings.network, data.inputs.shape, data.n_classes, settings.weights
            )
        )
        self.networks = self._learners()
        if "features" in self.columns.shown(settings.epochs - 1):
            classifier_of(self.networks[0].module)  # or an error, before all epochs are trained
        self.banks = self._banks()
        self.pretrained: Pretrained | None = None
        self.on_pretrain: Callable[[PretrainEpoch], None] | None = None
        # Of a search for neighbours, until the next epoch has noted it.
        self._recall = 1.0
        # What an epoch may change beside networks and banks.
        self.scan_on = settings.method == "scanmix" or settings.scan == "on"
        self.scan_on &= settings.uses_scan
        self.warm_up_end = settings.warm_up_epochs
        self.noise_rate: float | None = None
        self.history: list[EpochResult] = []

    def _learners(self) -> list[Learner]:
        with seeded(self.settings.seed, self.device):
            modules = [self._make() for _ in NAMES]
        return [
            Learner(name, module, self.settings, self.device, self.shards)
            for name, module in zip(NAMES, modules, strict=True)
        ]

    def _banks(self) -> list[MemoryBank]:
        data, selector, pooled = self.data, self.selector, self.samples.pooled
        banks = [
            MemoryBank(
                data.labels,
                data.n_classes,
                data.ids,
                window=1 if selector is None else selector.history,
                probability_window=1 if selector is None else selector.probability_window,
                missing="unlabelled" if pooled else "error",
                # Each of several processes records what all of them computed.
                gather=(lambda own: [own]) if pooled else None,
            )
            for _ in NAMES
        ]
        if self.neighbours is not None:
            for bank in banks:
                bank.set_neighbours(self.neighbours)
        return banks

    def open(self, resume: bool) -> None:
        """Start the run directory, or go back to the last checkpoint of the one that is there."""
        resumed = resume and (self.path / "run.json").exists()
        self.shards.wait()
        if self.shards.rank == 0:
            self.writer = self._resumed_writer() if resumed else self._new_writer()
        self.shards.wait()
        saved = load_checkpoint(self.path) if resumed else None
        if self.shards.rank == 0:
            # An epoch is written before its checkpoint: one killed in between is trained again.
            self.writer.truncate(0 if saved is None else len(saved[1]["history"]))
        self.shards.wait()
        if saved is not None:
            self._restore(*saved)

    def _new_writer(self) -> RunWriter:
        data = self.data
        writer = RunWriter.create(
            self.path,
            data.labels,
            n_classes=data.n_classes,
            ids=data.ids,
            class_names=list(data.class_names),
            true_labels=data.true_labels,
            networks=NAMES,
            settings=self.described,
        )
        if self.neighbours is not None:
            writer.write_neighbours(self.neighbours)
        return writer

    def _resumed_writer(self) -> RunWriter:
        writer = RunWriter.resume(self.path)
        # Before the first checkpoint, too: the log of one run must not go on with another's.
        check_same_run(self.data, self.described, open_run(self.path))
        return writer

    def prepare(self, pretrained: Path) -> None:
        """Pre-train, or find what an earlier run left, and start from it where that is asked."""
        self._cache = pretrained
        n_neighbors = neighbours_needed(self.selector)
        encoded = None if self.samples.pooled else self.samples.inputs(0).encoded
        if self.settings.pretrain_epochs and (n_neighbors or self.settings.uses_scan):
            self._pretrain(cluster=self.scan_on)
            assert self.pretrained is not None
            if self.neighbours is None:
                self._set_neighbours(self.pretrained.neighbours)
                self._recall = self.pretrained.recall
        elif n_neighbors and self.neighbours is None and encoded is not None:
            near, self._recall = find_neighbours(encoded, n_neighbors)
            self._set_neighbours(near)
        if self.scan_on and not self.history:
            self._start_from_pretrained()

    def _pretrain(self, *, cluster: bool) -> None:
        self.pretrained = pretrain(
            self.samples.inputs(0),
            self._make,
            self.data.n_classes,
            self.settings,
            self.device,
            self._cache,
            cluster=cluster,
            on_epoch=self.on_pretrain,
            shards=self.shards,
        )

    def _start_from_pretrained(self) -> None:
        assert self.pretrained is not None
        for network in self.networks:
            network.start_from(self.pretrained.weights, self.pretrained.head_weights)

    def _set_neighbours(self, neighbours: IntArray) -> None:
        # Searches on unequal machines might differ in the order of ties.
        shared = torch.from_numpy(np.array(neighbours, dtype=np.int64)).to(self.device)
        self.shards.spread([shared])
        self.neighbours = shared.cpu().numpy()
        for bank in self.banks:
            bank.set_neighbours(self.neighbours)
        if self.shards.rank == 0:
            self.writer.write_neighbours(self.neighbours)

    def epochs(self) -> Iterator[EpochResult]:
        """Train and close the epochs that are left, one by one."""
        for epoch in range(len(self.history), self.settings.epochs):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> EpochResult:
        lr, phase = self.settings.lr_at(epoch), self._phase(epoch)
        for network in self.networks:
            network.set_lr(lr)
        measures, batches = self._train(epoch)
        if self.scan_on and epoch >= self.warm_up_end:
            measures |= self._cluster(epoch)
        evaluations = self._evaluate(epoch, batches)
        for bank in self.banks:
            bank.end_epoch(lr, phase)
        measures |= self._memorised(epoch, evaluations)
        if epoch == self.warm_up_end - 1:
            measures |= self._end_warm_up(epoch)
        elif self.samples.pooled and epoch >= self.warm_up_end:
            self._find_neighbours(epoch)
        if self._recall < 1:
            measures["neighbours_recall"] = self._recall
            self._recall = 1.0
        result = EpochResult(epoch, phase, lr, self._test_accuracy(), measures)
        self._close(result, evaluations)
        return result

    def _phase(self, epoch: int) -> str:
        if epoch >= self.warm_up_end:
            return self.settings.method
        return "scan warm-up" if self.scan_on else "warm-up"

    def _train(self, epoch: int) -> tuple[dict[str, float], list[Tensor]]:
        """Train both networks for an epoch; return what that came to, and each one's batches."""
        selections: dict[str, Selection] = {}
        if epoch < self.warm_up_end or self.settings.method == "ce":
            trained = [self._warm_up(epoch, index) for index in (0, 1)]
        elif self.settings.method == "coteaching":
            trained, selections = self._coteach(epoch)
        else:
            selections = dict(zip(NAMES, self._select(epoch), strict=True))
            trained = [
                self._learn_from(epoch, index, selections[name]) for index, name in enumerate(NAMES)
            ]
        measures = self._means("train_loss", [each.losses for each in trained], epoch)
        batches = [each.batches for each in trained]
        rows, data = self.samples.rows(epoch), self.data
        truth = None if data.true_labels is None else data.true_labels[rows]
        measures |= selection_measures(selections, data.labels[rows], truth, data.n_classes)
        return measures, batches

    def _warm_up(self, epoch: int, index: int) -> TrainedEpoch:
        network = self.networks[index]
        draws = Draws.of(self.settings.seed, epoch, index, self.device)
        in_warm_up = epoch < self.warm_up_end
        penalise = self.settings.confidence_penalty and in_warm_up
        # From clustered features only the classifier is fitted to labels this early, as in ScanMix.
        fitted = network.only_classifier() if self.scan_on and in_warm_up else nullcontext()
        with fitted, self._seeded(draws):
            return warm_up_epoch(
                network,
                self.samples.inputs(epoch),
                self.samples.labels(epoch),
                self.settings,
                draws,
                penalise,
            )

    def _coteach(self, epoch: int) -> tuple[list[TrainedEpoch], dict[str, Selection]]:
        settings = self.settings
        rate = settings.forget_rate if settings.forget_rate is not None else self.noise_rate
        assert rate is not None
        draws = Draws.of(settings.seed, epoch, 0, self.device)
        with self._seeded(draws):
            losses, kept, batches = coteaching_epoch(
                self.networks,
                self.samples.inputs(epoch),
                self.samples.labels(epoch),
                settings.forgotten_at(epoch - self.warm_up_end + 1, rate),
                settings,
                draws,
            )
        ids = self.data.ids[self.samples.rows(epoch)]
        masks = dict(zip(NAMES, kept, strict=True))
        selections = {n: Selection(clean=mask.cpu().numpy(), ids=ids) for n, mask in masks.items()}
        return [TrainedEpoch(each, batches) for each in losses], selections

    def _learn_from(self, epoch: int, index: int, selection: Selection) -> TrainedEpoch:
        """Train one network on its selection by MixMatch."""
        settings, inputs = self.settings, self.samples.inputs(epoch)
        network, peer = self.networks[index], self.networks[1 - index]
        believed_in_part = settings.method == "vrlvmix-plus"
        if believed_in_part:
            everything = np.ones_like(selection.clean)
            selection = replace(selection, clean=everything, unlabelled_mask=~everything)
        if len(selection) == 0:
            warnings.warn(
                f"Epoch {epoch}: no sample is labelled for network {network.name}, which trains on "
                "all given labels as in warm-up.",
                DegenerateWarning,
                stacklevel=2,
            )
            return self._warm_up(epoch, index)
        labels = self.data.labels[self.samples.rows(epoch)]
        unlabelled = torch.from_numpy(np.flatnonzero(selection.unlabelled_mask))
        draws = Draws.of(settings.seed, epoch, index, self.device)
        with self._seeded(draws):
            return mixmatch_epoch(
                network,
                peer,
                inputs,
                SelectedSamples(inputs.values, labels, selection),
                unlabelled.to(self.device),
                self._class_weights(selection, labels),
                settings.lambda_u_at(epoch - self.warm_up_end),
                settings,
                draws,
                strong=settings.method == "scanmix" and not self._gently,
                refine_together=believed_in_part,
            )

    def _class_weights(self, selection: Selection, labels: IntArray) -> Tensor | None:
        """Return the weights of Eq. 10, which balanced VRLVMix alone has."""
        selector = self.selector
        weighted = isinstance(selector, VRLVSelector) and selector.balance
        if self.settings.method != "vrlvmix" or not weighted:
            return None
        weights = class_weights(selection, labels, self.data.n_classes)
        return torch.from_numpy(weights).to(self.device, torch.float32)

    def _select(self, epoch: int) -> tuple[Selection, Selection]:
        """Return what network a and what network b is to be trained on."""
        log_a, log_b = self._logs(epoch)
        selector = self.selector
        assert selector is not None
        if isinstance(selector, VRLVSelector) and self.settings.method == "vrlvmix":
            return selector.select_pair(log_a, log_b)
        return selector.select(log_b, log_a), selector.select(log_a, log_b)

    def _logs(self, epoch: int) -> tuple[TrainingLog, TrainingLog]:
        """Return the logs of both networks for the samples of an epoch."""
        log_a, log_b = (bank.log() for bank in self.banks)
        if not self.samples.pooled:
            return log_a, log_b
        rows = self.samples.rows(epoch)
        return log_a.take(rows), log_b.take(rows)

    def _cluster(self, epoch: int) -> dict[str, float]:
        """Draw each sample and its neighbours together, in both networks (Eq. 12)."""
        settings, logs = self.settings, self._logs(epoch)
        lr = _GENTLE_SCAN_LR if self._gently else settings.scan_lr
        near = torch.from_numpy(np.array(logs[0].nearest(settings.n_neighbors))).to(self.device)
        losses = []
        for index, network in enumerate(self.networks):
            of_peer = logs[1 - index].predictions
            assert network.head is not None and of_peer is not None
            predicted = torch.from_numpy(of_peer[-1].astype(np.int64))
            draws = Draws.of(settings.seed, epoch, len(NAMES) + index, self.device)
            with self._seeded(draws):
                losses.append(
                    scan_epoch(
                        network.module,
                        network.head,
                        network.clustering_optimiser(lr),
                        self.samples.inputs(epoch),
                        near,
                        predicted.to(self.device),
                        batch_size=settings.scan_batch_size,
                        lambda_e=settings.lambda_e,
                        draws=draws,
                        strong=not self._gently,
                        forward=network.through_head,
                    )
                )
        return self._means("scan_loss", losses, epoch)

    @property
    def _gently(self) -> bool:
        """Whether ScanMix, which always clusters, has little noise before it."""
        little = self.noise_rate is not None and self.noise_rate <= _SCAN_NOISE_RATE
        return self.settings.method == "scanmix" and little

    def _means(self, name: str, losses: list[Tensor], epoch: int) -> dict[str, float]:
        """Return the mean of each network's steps, or stop at one that is not finite."""
        means = {}
        for network, steps in zip(self.networks, losses, strict=True):
            _check_finite(steps.cpu(), epoch, network.name)
            means[f"{name}_{network.name}"] = float(steps.mean())
        return means

    def _evaluate(self, epoch: int, batches: list[Tensor]) -> list[Evaluation]:
        """Record what both networks say of the samples of the next epoch, mostly the same ones."""
        for network in self.networks:
            # Of a user's own network they may have gone apart.
            self.shards.spread(network.module.buffers())
        evaluations = [self._shown(epoch, index, batches[index]) for index in (0, 1)]
        ids = self.data.ids[self.samples.rows(epoch + 1)]
        held = {"losses", "predictions", "confidences", *self.columns.held}
        for bank, evaluation in zip(self.banks, evaluations, strict=True):
            columns = {name: evaluation.columns[name] for name in held}
            bank.record(ids, **columns)
        return evaluations

    def _shown(self, epoch: int, index: int, batches: Tensor) -> Evaluation:
        """Return what one network shows of the samples of the next epoch."""
        network, inputs = self.networks[index].module, self.samples.inputs(epoch + 1)
        columns, shards = self.columns.shown(epoch), self.shards
        shown = evaluate(
            network,
            inputs,
            self.samples.labels(epoch + 1),
            shards,
            keep_probabilities="probabilities" in columns,
        )
        if "second_view" in columns:
            key = (self.settings.seed, epoch, index)
            shown = shown._replace(second_view=evaluate_second_view(network, inputs, key, shards))
        if "features" in columns:
            features = all_features(network, inputs, shards).float().cpu().numpy()
            shown = shown._replace(features=features)
        if "batches" in columns:
            # A sample may be new to the pool of the next epoch.
            step_of = np.full(self.data.n_samples, -1, dtype=np.int32)
            step_of[self.samples.rows(epoch)] = batches.cpu().numpy()
            shown = shown._replace(batches=step_of[self.samples.rows(epoch + 1)])
        return shown

    def _memorised(self, epoch: int, evaluations: list[Evaluation]) -> dict[str, float]:
        rows, data = self.samples.rows(epoch + 1), self.data
        truth = None if data.true_labels is None else data.true_labels[rows]
        predictions = dict(zip(NAMES, (each.predictions for each in evaluations), strict=True))
        measures = memorised(predictions, data.labels[rows], truth)
        if self.samples.val_inputs is not None:
            assert data.val_labels is not None
            labels = torch.from_numpy(data.val_labels.copy()).to(self.device)
            measures["val_accuracy"] = self._accuracy(self.samples.val_inputs, labels)
        return measures

    def _test_accuracy(self) -> float:
        return self._accuracy(self.samples.test_inputs, self.test_labels)

    def _accuracy(self, inputs: Any, labels: Tensor) -> float:
        return accuracy([network.tested for network in self.networks], inputs, labels, self.shards)

    def _end_warm_up(self, epoch: int) -> dict[str, float]:
        """Fix what is estimated once: noise and clean rate, the neighbours, whether to cluster."""
        selector, settings = self.selector, self.settings
        self._find_neighbours(epoch)
        if settings.method == "ce":
            return {}
        self.noise_rate = self._estimated_noise_rate(epoch)
        if self._should_start_clustering():
            self._start_clustering()
        elif isinstance(selector, VRLVSelector) and selector.clean_rate is None:
            # Where the mixture keeps nothing there is no rate to fix: VRLV asks again every epoch.
            self.selector = replace(selector, clean_rate=(1 - self.noise_rate) or None)
        return {"noise_rate": self.noise_rate}

    def _estimated_noise_rate(self, epoch: int) -> float:
        """Return the share of losses that are not small, in network a for VRLVMix, else in both."""
        selector = self.selector
        if isinstance(selector, VRLVSelector):
            if selector.clean_rate is not None:
                return 1 - selector.clean_rate
            gmm = GMMSelector(selector.threshold, selector.n_average)
            return 1 - float(gmm.select(self._logs(epoch + 1)[0]).clean.mean())
        gmm = GMMSelector(self.settings.threshold)
        kept = [gmm.select(log).clean.mean() for log in self._logs(epoch + 1)]
        return 1 - float(np.mean(kept))

    def _should_start_clustering(self) -> bool:
        may = self.settings.uses_scan and self.settings.pretrain_epochs > 0 and not self.scan_on
        return may and self.noise_rate is not None and self.noise_rate > _SCAN_NOISE_RATE

    def _start_clustering(self) -> None:
        """Begin again with warm-up, from pre-trained weights; what was recorded is of no use."""
        self.scan_on = True
        self.warm_up_end += self.settings.warm_up_epochs
        if self.warm_up_end >= self.settings.epochs:
            warnings.warn(
                f"The estimated noise rate is {self.noise_rate:.0%}, so warm-up begins again with "
                f"semantic clustering; it ends with epoch {self.warm_up_end - 1}, and the run with "
                f"epoch {self.settings.epochs - 1}: the method itself never trains. Give it more "
                "`epochs`, or decide on `scan` beforehand.",
                DegenerateWarning,
                stacklevel=2,
            )
        self._pretrain(cluster=True)
        self._start_from_pretrained()
        self.banks = self._banks()

    def _find_neighbours(self, epoch: int) -> None:
        """Find neighbours by network a's features where the run has no others and reads some."""
        n_neighbors = neighbours_needed(self.selector)
        known = self.neighbours is not None and not self.samples.pooled
        if not n_neighbors or known or self._given_neighbours or self.pretrained is not None:
            return
        rows = self.samples.rows(epoch + 1)
        features = all_features(
            self.networks[0].module, self.samples.inputs(epoch + 1), self.shards
        )
        near, self._recall = find_neighbours(features, n_neighbors)
        if self.samples.pooled:
            near = _of_all_samples(near, rows, self.data.n_samples)
        self._set_neighbours(near)

    def _close(self, result: EpochResult, evaluations: list[Evaluation]) -> None:
        """Make the epoch part of the run directory, and of the checkpoint."""
        self.history.append(result)
        if self.shards.rank == 0:
            self._write(result, evaluations)
            self._save()
        self.shards.wait()

    def _write(self, result: EpochResult, evaluations: list[Evaluation]) -> None:
        rows, epoch = self.samples.rows(result.epoch + 1), result.epoch
        shown = {
            name: evaluation.spread(rows, self.data.n_samples)
            for name, evaluation in zip(NAMES, evaluations, strict=True)
        }
        written = self.columns.written(epoch)
        dynamics = ["losses", "predictions", "confidences", *({"batches"} & written)]
        self.writer.write_epoch(
            {name: {column: shown[name][column] for column in dynamics} for name in NAMES},
            lr=result.lr,
            phase=result.phase,
            metrics={"test_accuracy": result.test_accuracy, **result.measures},
        )
        # After the epoch they are of, and before the checkpoint: a kill in between takes all back.
        for name, columns in shown.items():
            if "probabilities" in written:
                self.writer.write_probabilities(name, epoch, columns["probabilities"])
            if "second_view" in written:
                self.writer.write_second_view(name, epoch, columns["second_view"])
            if "features" in written:
                self.writer.write_features(name, columns["features"])

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        metas = {}
        for network, bank in zip(self.networks, self.banks, strict=True):
            recorded = bank.state_dict()
            state = training_state(network)
            state |= {f"bank.{key}": torch.from_numpy(v) for key, v in recorded["arrays"].items()}
            metas[network.name] = recorded["meta"]
            tensors |= {f"{network.name}.{key}": value for key, value in state.items()}
        if self.samples.pooled and self.neighbours is not None and not self._given_neighbours:
            # Of a pool they change with every epoch.
            tensors["neighbours"] = torch.from_numpy(self.neighbours)
        meta = {
            "clean_rate": getattr(self.selector, "clean_rate", None),
            "noise_rate": self.noise_rate,
            "scan_on": self.scan_on,
            "warm_up_end": self.warm_up_end,
            "banks": metas,
            "history": [asdict(result) for result in self.history],
        }
        save_checkpoint(self.path, tensors, meta)

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        for network, bank in zip(self.networks, self.banks, strict=True):
            own = part(tensors, f"{network.name}.")
            arrays = {key: value.numpy() for key, value in part(own, "bank.").items()}
            bank.load_state_dict({"meta": meta["banks"][network.name], "arrays": arrays})
            load_training_state(network, own)
        if isinstance(self.selector, VRLVSelector):
            self.selector = replace(self.selector, clean_rate=meta["clean_rate"])
        self.noise_rate, self.scan_on = meta["noise_rate"], meta["scan_on"]
        self.warm_up_end = meta["warm_up_end"]
        self.history = [EpochResult(**result) for result in meta["history"]]
        # Neighbours are kept once, in the run directory, and not in every checkpoint of a set that
        # has one pool.
        if "neighbours" in tensors:
            self.neighbours = tensors["neighbours"].numpy()
        elif self.neighbours is None:
            self.neighbours = open_run(self.path).neighbours
        if self.neighbours is not None:
            for bank in self.banks:
                bank.set_neighbours(self.neighbours)

    def _seeded(self, draws: Draws) -> Any:
        """Seed what a user's own network draws from the global state: dropout, for one."""
        return seeded(draws.order.initial_seed() + self.shards.rank, self.device)


def _of_all_samples(
    near: npt.NDArray[np.int64], rows: IntArray, n_samples: int
) -> npt.NDArray[np.int64]:
    """Return the neighbours of a pool as those of all samples; the others have none."""
    spread = np.full((n_samples, near.shape[1]), -1)
    spread[rows] = np.where(near < 0, -1, rows[near])
    return spread


def _check_finite(losses: Tensor, epoch: int, name: str) -> None:
    bad = torch.nonzero(~torch.isfinite(losses))
    if len(bad):
        raise NonFiniteLossError(
            f"The loss of network {name} is {losses[bad[0, 0]].item()} at epoch {epoch}, batch "
            f"{int(bad[0, 0])} of {len(losses)}. The checkpoint of the last closed epoch stays; "
            "train with a smaller `lr`, or look for NaN in the inputs."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda", local_rank()) if torch.cuda.is_available() else _CPU
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"`device` must be 'auto' or a name that torch knows, such as 'cpu' or 'cuda:0', "
            f"got {name!r}."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`device` is {name!r}, but torch finds no such device here. Use 'cpu'.")
    # Of several processes each has its own.
    return torch.device("cuda", local_rank()) if name == "cuda" else device


_CPU = torch.device("cpu")
