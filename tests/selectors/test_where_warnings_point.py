"""A warning names the line that asked, not one of the library."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from noisyselect import GMMSelector, LossVariationSelector
from noisyselect.bench import named_selectors
from noisyselect.checks import synthetic_log
from noisyselect.errors import DegenerateWarning

SELECTORS = named_selectors("all") | {
    "gmm-of-none": GMMSelector(threshold=1 - 1e-12),
    "loss-variation": LossVariationSelector(clean_rate=1e-3),
}
# VRLV warns of classes that stay empty, from several depths; these do not warn on the logs below.
for quiet in ("vrlv", "confident-learning", "confident-margin", "prediction-stability"):
    del SELECTORS[quiet]


def degenerate_logs():
    log, _ = synthetic_log(n_samples=60, n_epochs=24)
    n_samples = log.n_samples
    yield replace(log, losses=np.ones_like(log.losses))
    yield replace(log, predictions=np.tile(log.labels, (log.n_epochs, 1)))
    yield replace(log, features=np.ones_like(log.features))
    yield replace(log, labels=np.arange(n_samples) // 20, neighbours=None)
    yield replace(log, labels=np.where(np.arange(n_samples) < 1, 1, 0))
    yield replace(log, probabilities=np.full_like(log.probabilities, 0.25))
    yield replace(log, probabilities=np.ones_like(log.probabilities), n_classes=4)


@pytest.mark.parametrize("name", SELECTORS)
def test_a_warning_points_at_the_line_that_asked(name):
    selector = SELECTORS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DegenerateWarning)
        for log in degenerate_logs():
            selector.select(log, log)
    # Where the number to keep is estimated, `GMMSelector` may warn of the line that asks it.
    own = [each for each in caught if type(selector).__name__ in str(each.message)]
    assert {each.filename for each in own} == {__file__}
