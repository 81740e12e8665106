"""Nearest neighbours of features on any device, with or without faiss."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from noisyselect.numeric import neighbours as by_faiss
from noisyselect.numeric.neighbours import FoundNeighbours, Metric

# Similarities held at once: a quarter of a gibibyte.
_BLOCK = 2**26


@torch.no_grad()
def nearest_neighbours(
    features: Tensor, k: int, metric: Metric = "cosine"
) -> npt.NDArray[np.int64]:
    """Return the `k` nearest neighbours of every row, without the row itself, nearest first.

    Parameters
    ----------
    features : Tensor of float, shape (n_samples, n_features)
    k : int >= 1
        Neighbours per sample.
    metric : {"cosine", "euclidean"}

    Returns
    -------
    array of int64, shape (n_samples, k)
        Row positions, on the host; -1 where there are fewer than k other samples.

    Notes
    -----
    Exact search in float32, in blocks of rows: the answer of
    `noisyselect.numeric.neighbours.nearest_neighbours`, but for the order of ties.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1 neighbour, got {k!r}.")
    if metric == "cosine":
        rows = functional.normalize(features.float(), dim=1)
        half_lengths = rows.new_zeros(len(rows))
    else:
        # In 64 bits and centred: a common offset would only cost digits.
        rows = (features.double() - features.double().mean(dim=0)).float()
        half_lengths = rows.square().sum(dim=1) / 2
    n = len(rows)
    positions = torch.arange(n, device=rows.device)
    neighbours = torch.full((n, k), -1, dtype=torch.int64, device=rows.device)
    for block in torch.split(positions, max(1, _BLOCK // n)):
        # Half the negative squared distance, but for what is the same for the whole row.
        nearness = rows[block] @ rows.T - half_lengths
        nearness[torch.arange(len(block), device=rows.device), block] = -math.inf
        found = nearness.topk(min(k, n - 1), dim=1).indices
        neighbours[block, : found.shape[1]] = found
    found_all: npt.NDArray[np.int64] = neighbours.cpu().numpy()
    return found_all


def find_neighbours(
    features: Tensor, k: int, metric: Metric = "cosine", exact_up_to: int = 100_000
) -> FoundNeighbours:
    """Return neighbours by the means at hand: torch on an accelerator, faiss on a processor.

    Parameters
    ----------
    features : Tensor of float, shape (n_samples, n_features)
    k : int >= 1
    metric : {"cosine", "euclidean"}
    exact_up_to : int, default=100000
        Samples up to which the search on a processor is exact, as it is on accelerators, and where
        faiss is absent, always. Beyond, see `noisyselect.numeric.neighbours.find_neighbours`.

    Returns
    -------
    FoundNeighbours
        `recall` is 1 of an exact search.
    """
    if features.device.type != "cpu" or find_spec("faiss") is None:
        return FoundNeighbours(nearest_neighbours(features, k, metric), 1.0)
    values = features.detach().float().numpy()
    return by_faiss.find_neighbours(values, k, metric, exact_up_to=exact_up_to)
