"""The reference trainer: two networks, a selection per epoch, and everything written down."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisyselect.arrays import IntArray
from noisyselect.bank import MemoryBank
from noisyselect.errors import DegenerateWarning, NonFiniteLossError
from noisyselect.numeric.neighbours import nearest_neighbours
from noisyselect.selection import Selection
from noisyselect.selector import Combined, Complement, Selector
from noisyselect.selectors.gmm import GMMSelector
from noisyselect.selectors.vrlv import VRLVSelector
from noisyselect.store import Run, RunWriter, open_run
from noisyselect.torch.checkpoint import (
    load_checkpoint,
    load_training_state,
    part,
    save_checkpoint,
    training_state,
)
from noisyselect.torch.data import TrainingData
from noisyselect.torch.evaluation import Evaluation, accuracy, all_features, evaluate
from noisyselect.torch.inputs import INPUTS, SelectedSamples
from noisyselect.torch.measures import measure
from noisyselect.torch.mixmatch import Draws, mixmatch_epoch, warm_up_epoch
from noisyselect.torch.models import default_network
from noisyselect.torch.settings import Settings

NAMES = ("a", "b")


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes
    ----------
    epoch : int
        From 0.
    phase : str
        ``"warm-up"``, or the method of the run.
    lr : float
        Learning rate of the epoch.
    test_accuracy : float in [0, 1]
        Of the mean of both networks' softmaxes.
    measures : dict of str to float
        ``train_loss_a`` and ``train_loss_b`` (means over the steps, in nats), and what
        `noisyselect.torch.measures.measure` returns.
    """

    epoch: int
    phase: str
    lr: float
    test_accuracy: float
    measures: dict[str, float]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes
    ----------
    run : Path
        The run directory: the log of both networks, and the last checkpoint.
    settings : Settings
    epochs : tuple of EpochResult
        All of the run, those before a resumption included.
    networks : tuple of two torch.nn.Module
        As they are after the last epoch.
    """

    run: Path
    settings: Settings
    epochs: tuple[EpochResult, ...]
    networks: tuple[nn.Module, nn.Module]

    @property
    def test_accuracy(self) -> list[float]:
        """Test accuracy of each epoch, in [0, 1]."""
        return [result.test_accuracy for result in self.epochs]

    @property
    def last(self) -> float:
        """Test accuracy of the last epoch."""
        return self.test_accuracy[-1]

    @property
    def best(self) -> float:
        """Best test accuracy of any epoch: what papers print, and nobody can choose honestly."""
        return max(self.test_accuracy)

    @property
    def last_5(self) -> float:
        """Mean test accuracy of the last 5 epochs, or of all where there are fewer."""
        return float(np.mean(self.test_accuracy[-5:]))


def train(
    data: TrainingData,
    settings: Settings,
    out: str | Path,
    *,
    network: Callable[[], nn.Module] | None = None,
    selector: Selector | None = None,
    neighbours: IntArray | None = None,
    device: str = "auto",
    resume: bool = False,
    on_epoch: Callable[[EpochResult], None] | None = None,
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
        n_features), to logits (batch, n_classes); called twice, for two initialisations. By default
        `SmallCNN`, or `SmallMLP`.
    selector : Selector, optional
        By default ``VRLVSelector(window=settings.vrlv_window, short_history="gmm",
        random_state=settings.seed)`` for ``"vrlvmix"``, for which it must be a `VRLVSelector`, and
        ``GMMSelector()`` for ``"dividemix"``, which takes any.
    neighbours : array of int, shape (n_samples, k), optional
        Row positions of the neighbours of each training sample. By default, where the selector
        reads any, the cosine neighbours of network a's features at the end of warm-up.
    device : str, default="auto"
        As torch names it; ``"auto"`` is ``"cuda"`` where there is one, else ``"cpu"``.
    resume : bool, default=False
        Go on after the last closed epoch of the run in `out`, or start it if there is none. On a
        CPU the result is that of the unbroken run, bit for bit.
    on_epoch : callable, optional
        Called with an `EpochResult` when an epoch has been closed and written.

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
    Before each epoch after warm-up `selector` reads the logs of both networks, and each network
    trains on its selection: with VRLVMix on its own, with DivideMix on the peer's. The clean rate
    of VRLVMix is estimated once, as the share that the mixture keeps of network a's losses at the
    end of warm-up, unless `selector` has one.
    """
    run = _Run(data, settings, Path(out), network, selector, neighbours, device)
    run.open(resume)
    for result in run.epochs():
        if on_epoch is not None:
            on_epoch(result)
    return TrainResult(
        run.path, settings, tuple(run.history), (run.networks[0].module, run.networks[1].module)
    )


@dataclass
class _Network:
    """One of the two networks, with what belongs to it."""

    name: str
    module: nn.Module
    optimiser: torch.optim.Optimizer
    bank: MemoryBank


@dataclass
class _Run:
    """A run in progress. What it needs to go on is what `_save` writes and `_restore` reads."""

    data: TrainingData
    settings: Settings
    path: Path
    factory: Callable[[], nn.Module] | None
    selector: Selector | None
    neighbours: IntArray | None
    device_name: str
    history: list[EpochResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.device = _device(self.device_name)
        self.selector = _suited(self.selector, self.settings)
        data = self.data
        self.inputs = INPUTS[data.kind](data.inputs, self.device)
        self.test_inputs = INPUTS[data.kind](data.test_inputs, self.device, like=self.inputs)
        self.labels = torch.from_numpy(data.labels.copy()).to(self.device)
        self.test_labels = torch.from_numpy(data.test_labels.copy()).to(self.device)
        self.described = self._describe()
        self.networks = self._build()

    def _describe(self) -> dict[str, Any]:
        return {
            **asdict(self.settings),
            "selector": repr(self.selector),
            "data": self.data.name,
            "noise": self.data.noise,
            "fingerprint": self._fingerprint(),
        }

    def _fingerprint(self) -> str:
        """Return a digest of what no other setting tells apart, for a resumed run."""
        digest = hashlib.sha256()
        data = self.data
        for values in (data.inputs, data.test_inputs, data.test_labels, self.neighbours):
            if values is not None:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()[:16]

    def _build(self) -> list[_Network]:
        data, settings = self.data, self.settings
        factory = self.factory or (lambda: default_network(data.inputs.shape, data.n_classes))
        with _seeded(settings.seed, self.device):
            modules = [factory() for _ in NAMES]
        for module in modules:
            module.to(self.device)
            # Twice as fast for convolutions, on CPUs as on GPUs.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        window = 1 if self.selector is None else self.selector.history
        networks = [
            _Network(
                name,
                module,
                torch.optim.SGD(
                    module.parameters(),
                    settings.lr,
                    momentum=settings.momentum,
                    weight_decay=settings.weight_decay,
                ),
                MemoryBank(data.labels, data.n_classes, data.ids, window=window),
            )
            for name, module in zip(NAMES, modules, strict=True)
        ]
        if self.neighbours is not None:
            for network in networks:
                network.bank.set_neighbours(self.neighbours)
        return networks

    def open(self, resume: bool) -> None:
        """Start the run directory, or go back to the last checkpoint of the one that is there."""
        if not (resume and (self.path / "run.json").exists()):
            self.writer = RunWriter.create(
                self.path,
                self.data.labels,
                n_classes=self.data.n_classes,
                ids=self.data.ids,
                class_names=list(self.data.class_names),
                true_labels=self.data.true_labels,
                networks=NAMES,
                settings=self.described,
            )
            return
        self.writer = RunWriter.resume(self.path)
        # Before the first checkpoint, too: the log of one run must not go on with another's.
        _check_same_run(self.data, self.described, open_run(self.path))
        saved = load_checkpoint(self.path)
        if saved is not None:
            self._restore(*saved)
        # An epoch is written before its checkpoint: one killed in between is trained again.
        self.writer.truncate(len(self.history))

    def epochs(self) -> Iterator[EpochResult]:
        """Train and close the epochs that are left, one by one."""
        for epoch in range(len(self.history), self.settings.epochs):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> EpochResult:
        settings = self.settings
        lr = settings.lr_at(epoch)
        warming_up = self.selector is None or epoch < settings.warm_up_epochs
        phase = "warm-up" if epoch < settings.warm_up_epochs else settings.method
        selections = None if warming_up else self._select()
        measures: dict[str, float] = {}
        for index, network in enumerate(self.networks):
            for group in network.optimiser.param_groups:
                group["lr"] = lr
            selection = None if selections is None else selections[index]
            losses = self._train(epoch, index, selection).cpu()
            _check_finite(losses, epoch, network.name)
            measures[f"train_loss_{network.name}"] = float(losses.mean())

        evaluations = [evaluate(net.module, self.inputs, self.labels) for net in self.networks]
        predictions = [evaluation.predictions for evaluation in evaluations]
        result = EpochResult(
            epoch,
            phase,
            lr,
            accuracy([net.module for net in self.networks], self.test_inputs, self.test_labels),
            measures | measure(self.data, NAMES, predictions, selections),
        )
        self._close(result, evaluations)
        return result

    def _close(self, result: EpochResult, evaluations: list[Evaluation]) -> None:
        """Make the epoch part of both logs, of the run directory, and of the checkpoint."""
        for network, evaluation in zip(self.networks, evaluations, strict=True):
            network.bank.record(self.data.ids, **evaluation._asdict())
            network.bank.end_epoch(result.lr, result.phase)
        if result.epoch == self.settings.warm_up_epochs - 1:
            self._end_warm_up()
        self.history.append(result)
        self.writer.write_epoch(
            {net.name: ev._asdict() for net, ev in zip(self.networks, evaluations, strict=True)},
            lr=result.lr,
            phase=result.phase,
            metrics={"test_accuracy": result.test_accuracy, **result.measures},
        )
        self._save()

    def _end_warm_up(self) -> None:
        """Fix what is estimated once: the clean rate, and the neighbours."""
        selector, network_a = self.selector, self.networks[0]
        if isinstance(selector, VRLVSelector) and selector.clean_rate is None:
            gmm = GMMSelector(selector.threshold, selector.n_average)
            kept = gmm.select(network_a.bank.log()).clean.mean()
            # Where the mixture keeps nothing there is no rate to fix: VRLV asks again every epoch.
            self.selector = replace(selector, clean_rate=float(kept) or None)
        n_neighbors = 0 if selector is None else _neighbours_needed(selector)
        if n_neighbors and self.neighbours is None:
            features = all_features(network_a.module, self.inputs)
            self.neighbours = nearest_neighbours(features, n_neighbors, "cosine")
            for network in self.networks:
                network.bank.set_neighbours(self.neighbours)
        if self.neighbours is not None:
            self.writer.write_neighbours(self.neighbours)

    def _select(self) -> tuple[Selection, Selection]:
        """Return what network a and what network b is to be trained on."""
        log_a, log_b = (network.bank.log() for network in self.networks)
        selector = self.selector
        assert selector is not None
        if isinstance(selector, VRLVSelector) and self.settings.method == "vrlvmix":
            return selector.select_pair(log_a, log_b)
        return selector.select(log_b, log_a), selector.select(log_a, log_b)

    def _train(self, epoch: int, index: int, selection: Selection | None) -> Tensor:
        settings = self.settings
        network, peer = self.networks[index], self.networks[1 - index]
        draws = Draws.of(settings.seed, epoch, index, self.device)
        if selection is not None and len(selection) == 0:
            warnings.warn(
                f"Epoch {epoch}: no sample is labelled for network {network.name}, which trains on "
                "all given labels as in warm-up.",
                DegenerateWarning,
                stacklevel=2,
            )
            selection = None
        # What a user's own network draws, dropout for one, comes from the global state.
        with _seeded(draws.order.initial_seed(), self.device):
            if selection is None:
                penalise = settings.confidence_penalty and epoch < settings.warm_up_epochs
                return warm_up_epoch(
                    network.module,
                    network.optimiser,
                    self.inputs,
                    self.labels,
                    settings,
                    draws,
                    penalise,
                )
            labelled = SelectedSamples(self.inputs.values, self.data.labels, selection)
            unlabelled = torch.from_numpy(np.flatnonzero(selection.unlabelled_mask))
            return mixmatch_epoch(
                network.module,
                peer.module,
                network.optimiser,
                self.inputs,
                labelled,
                unlabelled.to(self.device),
                self._class_weights(selection),
                settings.lambda_u_at(epoch),
                settings,
                draws,
            )

    def _class_weights(self, selection: Selection) -> Tensor | None:
        """Return the weights of Eq. 10, of VRLVMix alone."""
        selector = self.selector
        if self.settings.method != "vrlvmix" or not isinstance(selector, VRLVSelector):
            return None
        if not selector.balance:
            return None
        # Of one class all selected samples weigh the same, and a synthetic one has a real anchor.
        weights = np.zeros(self.data.n_classes)
        weights[self.data.labels[selection.clean]] = selection.weights[selection.clean]
        return torch.from_numpy(weights).to(self.device, torch.float32)

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        banks = {}
        for network in self.networks:
            state = training_state(network.module, network.optimiser)
            bank = network.bank.state_dict()
            state |= {f"bank.{key}": torch.from_numpy(v) for key, v in bank["arrays"].items()}
            banks[network.name] = bank["meta"]
            tensors |= {f"{network.name}.{key}": value for key, value in state.items()}
        if self.neighbours is not None:
            tensors["neighbours"] = torch.from_numpy(np.array(self.neighbours))
        meta = {
            "clean_rate": getattr(self.selector, "clean_rate", None),
            "banks": banks,
            "history": [asdict(result) for result in self.history],
        }
        save_checkpoint(self.path, tensors, meta)

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        for network in self.networks:
            own = part(tensors, f"{network.name}.")
            arrays = {key: value.numpy() for key, value in part(own, "bank.").items()}
            network.bank.load_state_dict({"meta": meta["banks"][network.name], "arrays": arrays})
            load_training_state(network.module, network.optimiser, own)
        if isinstance(self.selector, VRLVSelector):
            self.selector = replace(self.selector, clean_rate=meta["clean_rate"])
        if "neighbours" in tensors:
            self.neighbours = tensors["neighbours"].numpy()
            for network in self.networks:
                network.bank.set_neighbours(self.neighbours)
        self.history = [EpochResult(**result) for result in meta["history"]]


def _suited(selector: Selector | None, settings: Settings) -> Selector | None:
    """Return the selector of the run, or refuse one that its method cannot use."""
    if settings.method == "ce":
        if selector is not None:
            raise ValueError("`selector` must be None with method='ce', which selects nothing.")
        return None
    if settings.method == "dividemix":
        return selector or GMMSelector()
    if selector is not None and not isinstance(selector, VRLVSelector):
        raise ValueError(
            f"`selector` must be a VRLVSelector with method='vrlvmix', got {selector!r}. "
            "method='dividemix' takes any selector."
        )
    return selector or VRLVSelector(
        window=settings.vrlv_window, short_history="gmm", random_state=settings.seed
    )


def _check_finite(losses: Tensor, epoch: int, name: str) -> None:
    bad = torch.nonzero(~torch.isfinite(losses))
    if len(bad):
        raise NonFiniteLossError(
            f"The loss of network {name} is {losses[bad[0, 0]].item()} at epoch {epoch}, batch "
            f"{int(bad[0, 0])} of {len(losses)}. The checkpoint of the last closed epoch stays; "
            "train with a smaller `lr`, or look for NaN in the inputs."
        )


def _check_same_run(data: TrainingData, described: dict[str, Any], run: Run) -> None:
    # As JSON has it, which knows no tuples.
    asked, saved = json.loads(json.dumps(described)), run.settings
    changes = [
        f"`{name}` was {saved.get(name)!r}, got {asked[name]!r}"
        for name in asked
        if asked[name] != saved.get(name)
    ]
    if not (np.array_equal(run.labels, data.labels) and np.array_equal(run.ids, data.ids)):
        changes.append("the labels or ids are others")
    if changes:
        raise ValueError(
            "A run is resumed with the data and settings that it was started with: "
            f"{'; '.join(changes)}. Pass those, or train into another directory."
        )


def _neighbours_needed(selector: Selector) -> int:
    """Return how many neighbours per sample a selector, or a part of it, reads at most."""
    match selector:
        case Combined():
            return max(_neighbours_needed(selector.left), _neighbours_needed(selector.right))
        case Complement():
            return _neighbours_needed(selector.of)
        case VRLVSelector():
            return selector.n_neighbors if selector.balance else 0
        case _:
            return int(getattr(selector, "n_neighbors", 0))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"`device` must be 'auto' or a name that torch knows, such as 'cpu' or 'cuda:0', "
            f"got {name!r}."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`device` is {name!r}, but torch finds no such device here. Use 'cpu'.")
    return device


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global state of CPU and `device`, and put it back as it was afterwards."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
