"""How batches leave a data set: normalised, augmented, or chosen by a selection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from noisyselect.arrays import AnyArray, check_shape, integers
from noisyselect.selection import Selection
from noisyselect.torch.augment import contrastive_view, crop_and_flip, distort


def fetch(values: Tensor, rows: Tensor, view: Tensor | None = None) -> Tensor:
    """Return samples, or one view of each.

    Parameters
    ----------
    values : Tensor of shape (n_samples, ...), or (n_samples, n_views, ...) with `view`
    rows : Tensor of int64, shape (batch,)
    view : Tensor of int64, shape (batch,), optional

    Returns
    -------
    Tensor of shape (batch, ...)
    """
    if view is None:
        return values.index_select(0, rows)
    # As rows of all views: fetched by two indices they take five times as long on a processor.
    return values.flatten(0, 1).index_select(0, rows * values.shape[1] + view)


class Inputs(ABC):
    """All samples as one tensor on a device; what a network is given of them.

    Parameters
    ----------
    values : array of shape (n_samples, ...)
        Of any real type; uint8 takes a quarter of the memory of floats.
    device : torch.device
    like : Inputs, optional
        Prepare samples as these are: test samples with the mean and deviation of the training set.
    """

    def __init__(self, values: AnyArray, device: torch.device, like: Inputs | None = None) -> None:
        # Torch does not know read-only arrays, of which it is given a copy.
        own = values if values.flags.writeable else values.copy()
        self.values = torch.from_numpy(own).to(device)
        if like is None:
            self.mean, std = self._moments()
            # What is constant stays so, at 0.
            self.std = std.clamp_min(1e-6)
        else:
            self.mean, self.std = like.mean, like.std

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self.values.device

    def of(self, values: Tensor) -> Self:
        """Return other samples, prepared as these are."""
        others = copy(self)
        others.values = values
        return others

    def raw(self, rows: Tensor, view: Tensor | None = None) -> Tensor:
        """Return the samples of `rows`, or a view of each, as they were given: see `fetch`."""
        return fetch(self.values, rows, view)

    def draw_views(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Return which view each of n samples is trained on, if they have several."""
        return None

    def drawn(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is augmented of `rows`: of several views one, at random."""
        return self.raw(rows, self.draw_views(len(rows), generator))

    def normalise(self, batch: Tensor) -> Tensor:
        """Return floats of mean 0 and deviation 1 over the training set."""
        return (batch.float() - self.mean).div_(self.std)

    @property
    def encoded(self) -> Tensor | None:
        """Features that an encoder has made of each sample, (n_samples, n_features), if any."""
        return None

    @abstractmethod
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of what a network is given."""

    @abstractmethod
    def plain(self, batch: Tensor) -> Tensor:
        """Return raw samples as they are evaluated, not normalised yet."""

    @abstractmethod
    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw samples as they are trained on, one independent draw each."""

    @abstractmethod
    def augment_strongly(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw samples as they are clustered."""

    @abstractmethod
    def augment_contrastively(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw samples as SimCLR tells them apart: two draws are two views."""


class Pixels(Inputs):
    """Images of shape (n_samples, n_channels, height, width); augmented by crops and mirroring.

    Parameters
    ----------
    values : array of shape (n_samples, n_channels, height, width)
        On any scale: the least value of the training set is taken for black, the largest for white,
        where colours are changed.
    device : torch.device
    like : Inputs, optional
        Normalise, crop and change colours as these do.
    crop : int, optional
        Side in pixels of what a network is given of larger images: a random part in training, the
        central one in evaluation. By default that of `like`, or the whole image, which in training
        is then shifted by up to 4 pixels.

    Raises
    ------
    ValueError
        If `crop` is larger than the images.
    """

    def __init__(
        self,
        values: AnyArray,
        device: torch.device,
        like: Inputs | None = None,
        crop: int | None = None,
    ) -> None:
        super().__init__(values, device, like)
        self.black: Tensor
        self.white: Tensor
        self.crop: int | None = crop
        if isinstance(like, Pixels):
            self.black, self.white, self.crop = like.black, like.white, crop or like.crop
        else:
            self.black, self.white = (end.float() for end in self.values.aminmax())
        height, width = self.values.shape[2:]
        if self.crop is not None and not 1 <= self.crop <= min(height, width):
            raise ValueError(
                f"`crop` must lie in [1, {min(height, width)}] for images of {height}x{width} "
                f"pixels, got {self.crop!r}. Resize the images first, or leave `crop` out."
            )

    def _moments(self) -> tuple[Tensor, Tensor]:
        # Of ten thousand images at most, evenly spaced: of large ones all would fill the memory.
        values = self.values[:: -(-len(self.values) // 10_000)].float()
        return values.mean((0, 2, 3), keepdim=True), values.std((0, 2, 3), keepdim=True)

    def plain(self, batch: Tensor) -> Tensor:
        """Return the images as they are, or the centre of each."""
        if self.crop is None:
            return batch
        top, left = ((length - self.crop) // 2 for length in batch.shape[2:])
        return batch[:, :, top : top + self.crop, left : left + self.crop]

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images shifted (or a part of each) and mirrored, see `crop_and_flip`."""
        if self.crop is None:
            return crop_and_flip(batch, generator)
        return crop_and_flip(batch, generator, padding=0, size=self.crop)

    def augment_strongly(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images augmented, and then distorted, see `distort`."""
        weak = self.augment(batch, generator)
        return distort(weak, generator, self.black, self.white, self.mean)

    def augment_contrastively(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return SimCLR's view of each image, see `contrastive_view`."""
        return contrastive_view(batch, generator, self.black, self.white, self.crop)


class Views(Inputs):
    """Features of shape (n_samples, n_views, n_features); augmented by taking a view at random.

    View 0, by convention that of the sample itself, is what is evaluated. Beside the view, a share
    of the features is set to their mean (dropout without rescaling, which normalised features do
    not need to keep their mean).
    """

    # What is dropped, in 256ths: a fifth, as input layers are usually given (Srivastava et al.,
    # 2014), within 0.1 %. A random byte decides over a feature, as drawing a float for each took
    # longer than all that follows but the network.
    dropped = 51

    @property
    def encoded(self) -> Tensor:
        """View 0 of each sample."""
        return self.values[:, 0].float()

    def _moments(self) -> tuple[Tensor, Tensor]:
        values = self.values.float()
        return values.mean((0, 1)), values.std((0, 1))

    def plain(self, batch: Tensor) -> Tensor:
        """Return view 0, shape (batch, n_features)."""
        return batch[:, 0].float()

    def draw_views(self, n: int, generator: torch.Generator) -> Tensor:
        """Return a view for each of n samples, shape (n,)."""
        n_views = self.values.shape[1]
        return torch.randint(n_views, (n,), generator=generator, device=self.device)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each sample, shape (batch, n_features), with some features dropped."""
        dropped = _random_bytes(batch.shape, generator).lt_(self.dropped)
        # Bytes of 0 and 1 as shares: a choice by truth values takes ten times as long.
        return torch.lerp(batch.float(), self.mean, dropped.float())

    def augment_strongly(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return what `augment` does: of features there is no stronger augmentation."""
        return self.augment(batch, generator)

    def augment_contrastively(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return what `augment` does."""
        return self.augment(batch, generator)


def _random_bytes(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return uniform bytes, eight to a draw."""
    rows, columns = shape
    words = torch.empty((rows, -(-columns // 8)), dtype=torch.int64, device=generator.device)
    # All 64 bits: by default the sign would never be drawn.
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.uint8)[:, :columns]


# By `TrainingData.kind`.
INPUTS: dict[str, type[Inputs]] = {"images": Pixels, "features": Views}


class SelectedSamples(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The labelled samples of a selection, its synthetic ones included, for any loop.

    Parameters
    ----------
    inputs : Tensor of shape (n_samples, ...)
        Images, features or anything else that can be mixed, in the order of the selection.
    labels : array of int or Tensor, shape (n_samples,)
        Given labels.
    selection : Selection
        Real rows are its clean samples, in order; then come the rows of its recipes.

    Notes
    -----
    An index is an int or, for a whole batch at once, a tensor of ints, with which
    ``DataLoader(selected, sampler=BatchSampler(...), batch_size=None)`` needs no collation. Items
    are input (float), label (int64) and trust (float in [0, 1], 1 for synthetic samples).

    Examples
    --------
    >>> from noisyselect import MixupRecipes, Selection
    >>> recipe = MixupRecipes(anchors=[0], partners=[2], lam=[0.75], labels=[1])
    >>> selection = Selection(clean=[True, True, False], trust=[0.9, 0.8, 0], synthetic=recipe)
    >>> selected = SelectedSamples(torch.tensor([[4.0], [5.0], [8.0]]), [1, 0, 0], selection)
    >>> selected[2]
    (tensor([5.]), tensor(1), tensor(1.))
    """

    def __init__(
        self, inputs: Tensor, labels: npt.ArrayLike | Tensor, selection: Selection
    ) -> None:
        given = integers("labels", labels)
        check_shape("inputs", selection.ids, {"n_samples": len(inputs)}, "Of one selection.")
        check_shape("labels", given, {"n_samples": len(inputs)}, "It must match `inputs`.")
        rows = np.flatnonzero(selection.clean)
        trust = selection.trust[rows]
        columns: list[AnyArray] = [rows, rows, np.ones(rows.size), given[rows], trust]
        recipes = selection.synthetic
        self.n_synthetic = 0 if recipes is None else len(recipes)
        if recipes is not None and self.n_synthetic:
            made = (
                selection.rows(recipes.anchors),
                selection.rows(recipes.partners),
                recipes.lam,
                recipes.labels,
                np.ones(self.n_synthetic),
            )
            columns = [np.concatenate(pair) for pair in zip(columns, made, strict=True)]

        def tensor(values: AnyArray, dtype: torch.dtype) -> Tensor:
            return torch.from_numpy(values).to(inputs.device, dtype)

        self.inputs = inputs
        self.anchors, self.partners = (tensor(part, torch.int64) for part in columns[:2])
        self.lam, self.labels = tensor(columns[2], torch.float32), tensor(columns[3], torch.int64)
        self.trust = tensor(columns[4], torch.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return input, label and trust; of a batch where `index` is a tensor."""
        rows = torch.as_tensor(index)
        inputs = self.mixed(rows.reshape(-1)).view(*rows.shape, *self.inputs.shape[1:])
        return inputs, self.labels[index], self.trust[index]

    def mixed(self, index: Tensor, view: Tensor | None = None) -> Tensor:
        """Return the inputs of a batch, or one view of each, as floats.

        Parameters
        ----------
        index : Tensor of int64, shape (batch,)
        view : Tensor of int64, shape (batch,), optional
            Where `inputs` has shape (n_samples, n_views, ...).
        """
        batch = fetch(self.inputs, self.anchors[index], view).float()
        if self.n_synthetic:
            lam = self.lam[index].view(-1, *[1] * (batch.ndim - 1))
            batch = torch.lerp(fetch(self.inputs, self.partners[index], view).float(), batch, lam)
        return batch
