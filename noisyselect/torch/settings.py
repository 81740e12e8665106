"""Settings: everything that decides how a run trains, as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Method = Literal["vrlvmix", "dividemix", "ce"]


@dataclass(frozen=True)
class Settings:
    """Keyword arguments of the trainer, checked once.

    Where no other source is named, the defaults are those of DivideMix and VRLVMix on CIFAR.
    None of them may come from true labels or from the true noise rate.

    Parameters
    ----------
    method : {"vrlvmix", "dividemix", "ce"}, default="vrlvmix"
        How to train after warm-up: MixMatch, each network on its own half of the VRLV selection;
        MixMatch, each network on the GMM split of the *other*; or cross-entropy on all samples, as
        in warm-up. All three have two networks, and of one seed the same initialisation, order of
        samples and schedule.
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
        cross-entropy, a step has twice as many.
    augment : bool, default=True
        Random crops (4 pixels) and mirroring. Then MixMatch has two views of each image, else one.
    confidence_penalty : bool, default=False
        Add the negative entropy to the loss of warm-up; DivideMix does so for asymmetric noise.
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
    seed : int >= 0, default=0
        Of everything random; neither the global random state is read nor is it changed.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    Examples
    --------
    >>> Settings(epochs=6).warm_up_epochs, Settings(epochs=6).vrlv_window
    (3, 2)
    >>> Settings().warm_up_epochs, Settings().vrlv_window, Settings().lr_at(150)
    (10, 5, 0.002)
    """

    method: Method = "vrlvmix"
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
    lambda_u: float = 25.0
    ramp_epochs: int = 16
    lambda_r: float = 1.0
    temperature: float = 0.5
    alpha: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"`method` must be one of {get_args(Method)}, got {self.method!r}.")
        for name, least in (
            ("epochs", 1),
            ("warm_up", 1),
            ("window", 2),
            ("lr_drop_epoch", 0),
            ("batch_size", 1),
            ("ramp_epochs", 0),
            ("weight_decay", 0),
            ("lambda_u", 0),
            ("lambda_r", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            # Written so that NaN fails too.
            if value is not None and not value >= least:
                raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
        for name in ("lr", "temperature", "alpha"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)!r}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"`momentum` must lie in [0, 1), got {self.momentum!r}.")

    @property
    def warm_up_epochs(self) -> int:
        """Number of epochs of warm-up."""
        return self.warm_up if self.warm_up is not None else min(10, max(1, self.epochs // 2))

    @property
    def vrlv_window(self) -> int:
        """Number of loss changes that VRLV looks back on."""
        return self.window if self.window is not None else min(5, max(2, self.warm_up_epochs - 1))

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        drop = max(1, self.epochs // 2) if self.lr_drop_epoch is None else self.lr_drop_epoch
        return self.lr / 10 if epoch >= drop else self.lr

    def lambda_u_at(self, epoch: int) -> float:
        """Return the weight of the unlabelled loss in an epoch, counted from 0."""
        since = epoch - self.warm_up_epochs
        share = 1.0 if self.ramp_epochs == 0 else min(1.0, max(0.0, since / self.ramp_epochs))
        return self.lambda_u * share
