"""Settings: everything that decides how a run trains, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Method = Literal["vrlvmix", "vrlvmix-plus", "dividemix", "scanmix", "coteaching", "ce"]
Part = Literal["vrlv", "balancing", "scan"]
Scan = Literal["auto", "on", "off"]
Precision = Literal["auto", "float32", "bfloat16"]
Record = Literal["probabilities", "second-view", "batches", "features"]

# What `scaled` shortens.
_SCHEDULE = (
    "epochs",
    "warm_up",
    "lr_drop_epoch",
    "ramp_epochs",
    "pretrain_epochs",
    "clustering_epochs",
    "forget_epochs",
)

# At least, and where 0 is meant: the epochs of what may be left out.
_AT_LEAST = {
    "epochs": 1,
    "warm_up": 1,
    "window": 2,
    "lr_drop_epoch": 0,
    "batch_size": 1,
    "ramp_epochs": 0,
    "weight_decay": 0,
    "lambda_u": 0,
    "lambda_r": 0,
    "n_neighbors": 1,
    "pretrain_epochs": 0,
    "pretrain_batch_size": 2,
    "clustering_epochs": 0,
    "scan_batch_size": 1,
    "lambda_e": 0,
    "forget_epochs": 0,
    "epoch_samples": 1,
    "record_last": 1,
    "seed": 0,
}
_POSITIVE = ("lr", "temperature", "alpha", "pretrain_lr", "scan_lr")
_SHARES = ("momentum", "threshold", "forget_rate", "ema")


@dataclass(frozen=True)
class Settings:
    """Keyword arguments of the trainer, checked once.

    Where no other source is named, the defaults are those of DivideMix and VRLVMix on CIFAR.
    None of them may come from true labels or from the true noise rate.

    Parameters
    ----------
    method : str, default="vrlvmix"
        How to train after warm-up. ``"vrlvmix"``: MixMatch, each network on its own half of the
        VRLV selection. ``"vrlvmix-plus"``, of this library: MixMatch on all samples with their
        labels, which are believed as far as `VRLVPlusSelector` trusts them by the losses of the
        *other* network; nothing is unlabelled, so that `lambda_u` is not used. ``"dividemix"``:
        MixMatch, each network on the GMM split of the *other*. ``"scanmix"``: as DivideMix, from
        pre-trained weights and with the clustering loss in every epoch. ``"coteaching"``:
        cross-entropy on the samples of each batch with the least loss in the *other* network.
        ``"ce"``: cross-entropy on all samples, as in warm-up. All have two networks, and of one
        seed the same initialisation, order of samples and schedule.
    without : tuple of {"vrlv", "balancing", "scan"}, default=()
        Parts of VRLVMix that are left out, the rows of the paper's Table IV: the variance ranking
        (both networks then give a mixture on their losses), the class balance (quotas, ENN, KNN
        mixup and the weights of Eq. 10), or semantic clustering (`scan` is then ``"off"``).
    network : str, default="auto"
        ``"small-cnn"``, ``"preact-resnet18"`` or ``"resnet50"`` for images, ``"small-mlp"`` for
        features, or ``"module:name"``: what is called with the number of classes and returns a
        network. ``"auto"`` is the small one that suits the data.
    weights : str, optional
        File with pre-trained weights of the network, see `noisyselect.torch.models.make_network`.
    epochs : int >= 1, default=300
        Length of the run, warm-up included.
    warm_up : int, optional
        Epochs of cross-entropy on all samples before the first selection. By default 10 (30 suits
        CIFAR-100), or half of `epochs` where that is less.
    window : int >= 2, optional
        Loss changes that VRLV looks back on. By default 5, or ``warm_up - 1`` where that is less
        (at least 2), so that its ``window + 1`` epochs are there when warm-up ends. Where they are
        not (a warm-up of one or two epochs, or a longer window), the GMM split serves until then.
    lr : float > 0, default=0.02
        Learning rate of stochastic gradient descent.
    lr_drop_epoch : int, optional
        First epoch at a tenth of `lr`. By default half of `epochs`, as 150 of 300.
    momentum : float in [0, 1), default=0.9
    weight_decay : float >= 0, default=5e-4
    batch_size : int >= 1, default=64
        Labelled samples of a MixMatch step, at most; as many unlabelled ones are added, or somewhat
        fewer, for each pass over them is cut into batches of one size. In warm-up, and with
        cross-entropy and Co-teaching, a step has twice as many.
    augment : bool, default=True
        Random crops (4 pixels) and mirroring. Then MixMatch has two views of each image, else one.
    confidence_penalty : bool, default=False
        Add the negative entropy to the loss of warm-up; DivideMix does so for asymmetric noise.
    threshold : float in [0, 1), default=0.5
        Posterior that a sample of small loss exceeds. DivideMix's paper has 0.6 at 90 % noise.
    lambda_u : float >= 0, default=25.0
        Final weight of the unlabelled loss. The papers choose from 0, 25, 50 and 150 by setting.
    ramp_epochs : int >= 0, default=16
        Epochs after warm-up over which the weight of the unlabelled loss rises from 0.
    lambda_r : float >= 0, default=1.0
        Weight of the divergence of the mean prediction from the uniform prior.
    temperature : float > 0, default=0.5
        Of sharpening; below 1 sharpens.
    alpha : float > 0, default=4.0
        Of the Beta distribution of the mixing share.
    n_neighbors : int >= 1, default=20
        Neighbours per sample, for ENN, KNN mixup and semantic clustering.
    pretrain_epochs : int >= 0, default=0
        Epochs of SimCLR before the run, of which the neighbours are then taken; the papers have
        500. With 0 they come from network a's features at the end of warm-up, and there is no
        semantic clustering.
    pretrain_lr : float > 0, default=0.4
    pretrain_batch_size : int >= 2, default=512
        Of SimCLR.
    clustering_epochs : int >= 0, default=50
        Epochs of SCAN after SimCLR; only where semantic clustering may be needed.
    scan : {"auto", "on", "off"}, default="auto"
        Semantic clustering of VRLVMix: pre-trained weights as initialisation, a warm-up of the
        classifier alone, and the loss of Eq. 12 in every epoch. ``"auto"`` switches it on where
        there was pre-training and the noise rate estimated at the end of warm-up exceeds 0.6;
        warm-up is then repeated. The paper has it off for asymmetric noise on CIFAR-10, and on for
        40 % of it on CIFAR-100. ScanMix has it always.
    scan_lr : float > 0, default=0.001
        Learning rate of semantic clustering.
    scan_batch_size : int >= 1, default=128
    lambda_e : float >= 0, default=2.0
        Weight of the entropy in Eq. 12. ScanMix's configurations have 5.
    forget_rate : float in [0, 1), optional
        Share of each batch that Co-teaching drops in the end. By default the noise rate that the
        mixture estimates at the end of warm-up; the paper gives it the true one.
    forget_epochs : int >= 0, default=10
        Epochs after warm-up over which that share rises from 0.
    epoch_samples : int >= 1, optional
        Train and evaluate on a class-balanced subset of so many samples, a part of which is
        replaced after every epoch, see `noisyselect.torch.data.balanced_pool`. By default on all.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the forward and backward passes in training; weights, losses and the evaluation passes
        have 32 bits (on accelerators torch's TF32 where it takes that). ``"auto"`` is bfloat16 on
        accelerators and processors that are faster with it.
    compile : bool, default=False
        Compile the networks with ``torch.compile``.
    ema : float in [0, 1), default=0.0
        Decay, per step, of the running mean of the weights that is tested instead of the weights
        themselves; 0 switches it off.
    record : tuple of {"probabilities", "second-view", "batches", "features"}, default=()
        What to write down of every sample beside losses, predictions and confidences; it changes
        nothing in the training. The softmax outputs of each epoch; those on a second view,
        augmented as in training (needs `augment`); the step in which each sample was last trained;
        the representation that the last epoch ends with.
    record_last : int >= 1, optional
        Write probabilities and second view of so many last epochs only. By default of all.
    seed : int >= 0, default=0
        Of everything random but pre-training, which reads no label and is the same for all seeds.

    Raises
    ------
    ValueError
        If a setting is out of its range, or contradicts another.

    Examples
    --------
    >>> Settings(epochs=6).warm_up_epochs, Settings(epochs=6).vrlv_window
    (3, 2)
    >>> Settings().warm_up_epochs, Settings().vrlv_window, Settings().lr_at(150)
    (10, 5, 0.002)
    """

    method: Method = "vrlvmix"
    without: tuple[Part, ...] = ()
    network: str = "auto"
    weights: str | None = None
    epochs: int = 300
    warm_up: int | None = None
    window: int | None = None
    lr: float = 0.02
    lr_drop_epoch: int | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 64
    augment: bool = True
    confidence_penalty: bool = False
    threshold: float = 0.5
    lambda_u: float = 25.0
    ramp_epochs: int = 16
    lambda_r: float = 1.0
    temperature: float = 0.5
    alpha: float = 4.0
    n_neighbors: int = 20
    pretrain_epochs: int = 0
    pretrain_lr: float = 0.4
    pretrain_batch_size: int = 512
    clustering_epochs: int = 50
    scan: Scan = "auto"
    scan_lr: float = 0.001
    scan_batch_size: int = 128
    lambda_e: float = 2.0
    forget_rate: float | None = None
    forget_epochs: int = 10
    epoch_samples: int | None = None
    precision: Precision = "auto"
    compile: bool = False
    ema: float = 0.0
    record: tuple[Record, ...] = ()
    record_last: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("method", get_args(Method)),
            ("scan", get_args(Scan)),
            ("precision", get_args(Precision)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {known}, got {getattr(self, name)!r}.")
        for name, known in (("without", get_args(Part)), ("record", get_args(Record))):
            # A list, as TOML has it, would not be hashable.
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not set(getattr(self, name)) <= set(known):
                raise ValueError(f"`{name}` must hold only {known}, got {getattr(self, name)!r}.")
        # In one order, for runs that differ in no more than that are the same.
        record = tuple(name for name in get_args(Record) if name in self.record)
        object.__setattr__(self, "record", record)
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            # Written so that NaN fails too.
            if value is not None and not value >= least:
                raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)!r}.")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`{name}` must lie in [0, 1), got {value!r}.")
        self._check_together()

    def _check_together(self) -> None:
        if self.without and self.method != "vrlvmix":
            raise ValueError(
                f"`without` leaves out parts of method='vrlvmix', got {self.without!r} with "
                f"method={self.method!r}."
            )
        if "second-view" in self.record and not self.augment:
            raise ValueError(
                "`record` can have 'second-view' only with `augment`: without it both views of a "
                "sample are the same."
            )
        if "features" in self.record and self.epoch_samples is not None:
            raise ValueError(
                "`record` cannot have 'features' with `epoch_samples`: they are of all samples, "
                "and an epoch has some of them."
            )
        if self.epoch_samples is not None and self.pretrain_epochs:
            raise ValueError(
                "`pretrain_epochs` must be 0 with `epoch_samples`: pre-training goes over all "
                f"samples, got {self.pretrain_epochs!r}."
            )
        needs_pretraining = self.method == "scanmix" or (self.uses_scan and self.scan == "on")
        if needs_pretraining and not self.pretrain_epochs:
            raise ValueError(
                f"`pretrain_epochs` must be at least 1 with method={self.method!r} and "
                f"scan={self.scan!r}: semantic clustering starts from SimCLR."
            )

    @property
    def warm_up_epochs(self) -> int:
        """Number of epochs of warm-up."""
        return self.warm_up if self.warm_up is not None else min(10, max(1, self.epochs // 2))

    @property
    def vrlv_window(self) -> int:
        """Number of loss changes that VRLV looks back on."""
        return self.window if self.window is not None else min(5, max(2, self.warm_up_epochs - 1))

    @property
    def uses_scan(self) -> bool:
        """Whether semantic clustering is part of the method, or may become it."""
        if self.method == "scanmix":
            return True
        return self.method == "vrlvmix" and self.scan != "off" and "scan" not in self.without

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        drop = max(1, self.epochs // 2) if self.lr_drop_epoch is None else self.lr_drop_epoch
        return self.lr / 10 if epoch >= drop else self.lr

    def lambda_u_at(self, since_warm_up: int) -> float:
        """Return the weight of the unlabelled loss so many epochs after the end of warm-up."""
        return self.lambda_u * _ramp(since_warm_up, self.ramp_epochs)

    def forgotten_at(self, since_warm_up: int, forget_rate: float) -> float:
        """Return the share of a batch that Co-teaching drops so many epochs after warm-up."""
        return forget_rate * _ramp(since_warm_up, self.forget_epochs)

    def scaled(self, factor: float) -> Settings:
        """Return the settings with every schedule shortened in proportion, for a rehearsal.

        Parameters
        ----------
        factor : float in (0, 1]
            Epochs of all kinds are multiplied by it and rounded; what there was stays at least one
            epoch. `window` shrinks only as far as warm-up makes it.

        Examples
        --------
        >>> short = Settings(warm_up=30, pretrain_epochs=500).scaled(0.1)
        >>> short.epochs, short.warm_up, short.pretrain_epochs, short.lr_at(14), short.lr_at(15)
        (30, 3, 50, 0.02, 0.002)
        """
        if not 0 < factor <= 1:
            raise ValueError(f"`factor` must lie in (0, 1], got {factor!r}.")
        lengths = {name: getattr(self, name) for name in _SCHEDULE}
        shorter = {
            name: max(1, round(factor * length)) for name, length in lengths.items() if length
        }
        if self.warm_up is None:
            shorter["warm_up"] = max(1, round(factor * self.warm_up_epochs))
        scaled = replace(self, **shorter, window=None)
        if self.window is not None:
            scaled = replace(scaled, window=min(self.window, scaled.vrlv_window))
        return scaled


def _ramp(since: int, length: int) -> float:
    return 1.0 if length == 0 else min(1.0, max(0.0, since / length))
