import numpy as np
import pytest
import torch
from torch import nn

from noisyselect.torch import SmallCNN
from noisyselect.torch.evaluation import Evaluation, accuracy, all_features, evaluate
from noisyselect.torch.inputs import Pixels

CPU = torch.device("cpu")


@pytest.fixture
def pixels():
    # More than one batch of an evaluation.
    rng = np.random.default_rng(0)
    return Pixels(rng.integers(0, 256, (1203, 1, 8, 8), dtype=np.uint8), CPU)


class Fixed(nn.Module):
    """The same probabilities for every image."""

    def __init__(self, *probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def test_losses_predictions_and_confidences_are_those_of_the_softmax(pixels):
    labels = torch.zeros(1203, dtype=torch.int64)
    answer = evaluate(Fixed(0.25, 0.75), pixels, labels)
    assert np.allclose(answer.losses, -np.log(0.25))
    assert (answer.predictions == 1).all()
    assert np.allclose(answer.confidences, 0.75)
    assert answer.losses.shape == (1203,)


def test_a_network_is_evaluated_in_evaluation_mode_and_learns_nothing(pixels):
    network = SmallCNN(1, 10, width=2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels = torch.zeros(1203, dtype=torch.int64)
    first, second = evaluate(network, pixels, labels), evaluate(network.train(), pixels, labels)
    assert np.array_equal(first.losses, second.losses)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_accuracy_is_of_the_mean_of_the_softmaxes_and_not_of_a_vote_or_one_network(pixels):
    labels = torch.ones(1203, dtype=torch.int64)
    unsure, sure = Fixed(0.6, 0.4), Fixed(0.1, 0.9)
    assert accuracy([unsure], pixels, labels) == 0
    assert accuracy([unsure, sure], pixels, labels) == 1


def test_there_is_one_row_of_features_per_image_in_their_order(pixels):
    network = SmallCNN(1, 10, width=2, n_hidden=5).eval()
    features = all_features(network, pixels).numpy()
    assert features.shape == (1203, 5)
    last = pixels.normalise(pixels.raw(torch.tensor([1202])))
    expected = network.hidden(network.convolutions(last)).detach().numpy()
    np.testing.assert_allclose(features[-1:], expected, rtol=1e-4, atol=1e-6)


def test_columns_of_some_rows_are_spread_over_all_samples():
    answer = Evaluation(*(np.array(v) for v in ([0.5, 0.25], [1, 0], [0.75, 0.5])))
    spread = answer.spread(np.array([1, 3]), 4)
    assert spread["predictions"].tolist() == [-1, 1, -1, 0]
    np.testing.assert_array_equal(spread["losses"], [np.nan, 0.5, np.nan, 0.25])
    np.testing.assert_array_equal(spread["confidences"], [np.nan, 0.75, np.nan, 0.5])
