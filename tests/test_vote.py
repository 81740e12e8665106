from dataclasses import replace

import numpy as np
import pytest

from noisyselect import (
    ENNCleaner,
    GMMSelector,
    LossVariationSelector,
    PredictionStabilitySelector,
    Selection,
    Selector,
    TrainingLog,
    check_selector,
)
from noisyselect.checks import synthetic_log
from noisyselect.errors import MissingEvidenceError, NonFiniteWarning
from noisyselect.vote import Vote

F, G, H = GMMSelector(), ENNCleaner(5), LossVariationSelector(window=3)


class Says(Selector):
    """Keep what it is told to."""

    def __init__(self, clean, score=None):
        self.answer = Selection(clean=np.array(clean, dtype=bool), score=score)

    def _select(self, log, peer):
        return self.answer


@pytest.fixture(scope="module")
def log():
    return synthetic_log(overlap=0.7)[0]


def test_the_ends_of_a_vote_are_the_signs(log):
    assert Vote([F, G], at_least=2).select(log) == (F & G).select(log)
    assert Vote([F, G], at_least=1).select(log) == (F | G).select(log)
    assert Vote([F, G, H], at_least=3).select(log) == (F & G & H).select(log)
    assert Vote([F, G, H], at_least=1).select(log) == (F | G | H).select(log)


def test_what_lies_between_is_every_pair_that_agrees(log):
    pairs = (F & G) | (F & H) | (G & H)
    assert Vote([F, G, H]).select(log) == pairs.select(log)
    assert Vote([F, G, H]).select(log) == Vote([F, G, H], at_least=2).select(log)


def test_the_complement_of_a_vote_is_the_other_vote_of_the_complements(log):
    of_complements = Vote([~F, ~G, ~H], at_least=3).select(log)
    assert (~Vote([F, G, H], at_least=1)).select(log) == of_complements


def test_the_order_of_the_selectors_does_not_matter_and_more_votes_keep_less(log):
    assert Vote([H, F, G]).select(log) == Vote([F, G, H]).select(log)
    strict, loose = Vote([F, G, H], at_least=3).select(log), Vote([F, G, H]).select(log)
    assert strict < loose < Vote([F, G, H], at_least=1).select(log)


def test_votes_and_scores_worked_by_hand():
    log = TrainingLog(labels=[0, 0, 0, 0], ids=["a", "b", "c", "d"])
    vote = Vote(
        [
            Says([1, 1, 1, 0], [0.9, 0.6, 0.5, 0.1]),
            Says([1, 1, 0, 0], [0.8, 0.9, 0.4, 0.2]),
            Says([1, 0, 0, 0], [0.7, 0.3, 0.1, 0.3]),
            Says([1, 0, 0, 0], [0.6, 0.1, 0.2, 0.4]),
        ]
    )
    # Half of four is no majority.
    assert vote.votes_needed == 3
    selection = vote.select(log)
    assert selection.labelled.tolist() == ["a"]
    assert selection.score.tolist() == [0.7, 0.3, 0.2, 0.2]
    two = replace(vote, at_least=2).select(log)
    assert two.labelled.tolist() == ["a", "b"]
    assert two.trust.tolist() == [1, 1, 0, 0]


def test_a_vote_over_half_of_the_raters_is_better_than_each_of_them():
    # Condorcet: three raters who each err on another fifth of the labels.
    rng = np.random.default_rng(0)
    right = rng.random(2000) < 0.6
    log = TrainingLog(labels=np.zeros(2000, dtype=int))
    raters = [Says(right ^ (rng.random(2000) < 0.2)) for _ in range(3)]
    errors = [np.mean(rater.select(log).clean != right) for rater in raters]
    assert np.mean(Vote(raters).select(log).clean != right) < 0.75 * min(errors)


def test_the_history_is_the_longest_and_the_peer_is_handed_on():
    log, _ = synthetic_log()
    peer = replace(synthetic_log(seed=1)[0], labels=log.labels)
    vote = Vote([F, H, PredictionStabilitySelector(window=2)])
    assert vote.history == max(1, H.history, PredictionStabilitySelector(window=2).history)
    seen = []

    class Sees(Selector):
        def _select(self, log, peer):
            seen.append(peer)
            return Selection(clean=np.ones(log.n_samples, dtype=bool))

    Vote([Sees()]).select(log, peer)
    assert seen == [peer]


def test_a_sample_without_a_record_for_one_has_the_votes_of_the_others(log):
    losses = log.losses.copy()
    losses[-3, 5] = np.nan  # H reads it, F does not
    with pytest.warns(NonFiniteWarning):
        broken = replace(log, losses=losses)
    kept = {name: rule.select(broken).clean[5] for name, rule in {"F": F, "H": H}.items()}
    assert kept == {"F": True, "H": False}
    assert Vote([F, H], at_least=1).select(broken).clean[5]
    assert not Vote([F, H], at_least=2).select(broken).clean[5]


@pytest.mark.parametrize(
    "vote", [Vote([F, G, H]), Vote([F, ~G], at_least=1), Vote([Vote([F]), H], at_least=2) & G]
)
def test_a_vote_keeps_the_contract(vote):
    check_selector(vote)


def test_the_representation_shows_what_differs_from_the_default():
    assert repr(Vote((F, ~G))) == "Vote([GMMSelector(), ~ENNCleaner(n_neighbors=5)])"
    assert repr(Vote([F, H], at_least=1)) == (
        "Vote([GMMSelector(), LossVariationSelector(window=3)], at_least=1)"
    )


def test_what_one_selector_lacks_the_vote_lacks():
    with pytest.raises(MissingEvidenceError, match="LossVariationSelector needs 4 epochs"):
        Vote([F, H]).select(TrainingLog(labels=[0, 1], losses=[[0.1, 0.2]]))


@pytest.mark.parametrize("at_least", [0, 3, -1, 1.5, "all", None])
def test_votes_that_nobody_or_everybody_has_are_refused(at_least):
    with pytest.raises(ValueError, match="`at_least` must be 'majority' or from 1 to the number"):
        Vote([F, G], at_least=at_least)


def test_a_vote_of_nobody_or_of_a_class_is_refused():
    with pytest.raises(ValueError, match="at least one selector, got none"):
        Vote([])
    with pytest.raises(TypeError, match="`selectors` must be selectors, got <class"):
        Vote([GMMSelector])
