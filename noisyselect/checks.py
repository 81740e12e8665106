"""The contracts of selectors and label correctors, as code: run them on your own."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import noisyselect
from noisyselect.arrays import AnyArray
from noisyselect.corrector import CorrectedLabels, LabelCorrector
from noisyselect.errors import DegenerateWarning, MissingEvidenceError, NonFiniteWarning
from noisyselect.log import TrainingLog
from noisyselect.rule import Rule
from noisyselect.selection import Selection
from noisyselect.selector import Combined, Complement, Selector
from noisyselect.vote import Vote

Check = Callable[[Selector], None]


def check_selector(selector: Selector) -> None:
    """Raise AssertionError, naming the broken promise, unless `selector` keeps the contract.

    The promises are the functions ``check_...`` of this module; the last one is about the
    docstring.

    Parameters
    ----------
    selector : Selector
        An instance, with the hyper-parameters to be checked.

    Examples
    --------
    >>> from noisyselect import GMMSelector
    >>> check_selector(GMMSelector(threshold=0.6))
    """
    if not isinstance(selector, Selector):
        raise TypeError(f"`selector` must be an instance of a Selector, got {selector!r}.")
    for check in selector_checks():
        check(selector)


def selector_checks() -> Iterator[Check]:
    """Yield the checks one by one, each a function of a selector, named after its promise."""
    yield check_answers_are_selections_of_the_log
    yield check_the_log_stays_as_it_was
    yield check_the_answer_depends_on_nothing_else
    yield check_permuting_samples_permutes_the_answer
    yield check_renaming_classes_changes_nothing
    yield check_float32_and_float64_agree
    yield check_history_is_all_that_is_read
    yield check_an_answer_without_epochs_is_that_of_every_epoch
    yield check_unusable_samples_are_never_selected
    yield check_degenerate_logs_are_answered
    yield check_missing_columns_are_named
    yield check_the_representation_makes_it_again
    yield check_the_docstring_is_complete


def check_corrector(corrector: LabelCorrector) -> None:
    """Raise AssertionError, naming the broken promise, unless `corrector` keeps the contract.

    The promises are the functions ``check_...`` that `corrector_checks` yields; the last one is
    about the docstring.

    Parameters
    ----------
    corrector : LabelCorrector
        An instance, with the hyper-parameters to be checked.

    Examples
    --------
    >>> from noisyselect.correctors.selc import SELCCorrector
    >>> check_corrector(SELCCorrector(alpha=0.8))
    """
    if not isinstance(corrector, LabelCorrector):
        raise TypeError(f"`corrector` must be an instance of a LabelCorrector, got {corrector!r}.")
    for check in corrector_checks():
        check(corrector)


def corrector_checks() -> Iterator[Callable[[LabelCorrector], None]]:
    """Yield the checks of a label corrector one by one, each named after its promise."""
    yield check_corrections_are_of_the_log
    yield check_the_log_stays_as_it_was
    yield check_the_answer_depends_on_nothing_else
    yield check_permuting_samples_permutes_the_correction
    yield check_renaming_classes_renames_the_correction
    yield check_history_is_all_that_is_read
    yield check_unusable_samples_keep_their_label
    yield check_degenerate_logs_are_answered
    yield check_missing_columns_are_named
    yield check_the_representation_makes_it_again
    yield check_the_docstring_is_complete


def synthetic_log(
    n_samples: int = 240,
    n_epochs: int = 12,
    n_classes: int = 4,
    noise_rate: float = 0.3,
    overlap: float = 0.3,
    seed: int = 0,
) -> tuple[TrainingLog, AnyArray]:
    """Make the log of a training run that never happened, for tests and examples.

    Clean samples are learnt early and steadily; wrong labels late, and their losses and predictions
    swing. The learning rate is divided by ten after two thirds of the epochs.

    Parameters
    ----------
    n_samples, n_epochs, n_classes : int
    noise_rate : float in [0, 1)
        Share of wrong labels.
    overlap : float in [0, 1]
        0 separates the losses of clean and wrong labels, 1 makes them alike.
    seed : int

    Returns
    -------
    log : TrainingLog
        With every column.
    true_labels : array of int, shape (n_samples,)
    """
    rng = np.random.default_rng(seed)
    truth = np.arange(n_samples) % n_classes
    wrong = rng.permutation(n_samples) < round(noise_rate * n_samples)
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n_samples)) % n_classes, truth)

    epoch = np.arange(n_epochs)[:, None]
    pace = rng.uniform(0.2, 0.4, n_samples)
    height = np.where(wrong, 3.0 - 2.0 * overlap, 1.0)
    swing = np.where(wrong, 0.5, 0.1)
    losses = height * np.exp(-pace * epoch * np.where(wrong, 0.2, 1.0))
    losses = losses * np.exp(swing * rng.normal(size=losses.shape))

    moved = rng.random((n_epochs, n_samples)) < np.where(wrong, 0.4, 0.05)
    predictions = np.where(moved, rng.integers(0, n_classes, moved.shape), truth)
    confidences = rng.uniform(0.5, 1.0, moved.shape)
    probabilities = rng.dirichlet(np.ones(n_classes), moved.shape)
    np.put_along_axis(probabilities, predictions[..., None], 0, axis=2)
    probabilities *= ((1 - confidences) / probabilities.sum(axis=2))[..., None]
    np.put_along_axis(probabilities, predictions[..., None], confidences[..., None], axis=2)
    features = 4.0 * np.eye(n_classes)[truth] + rng.normal(size=(n_samples, n_classes))
    # The second view of a wrong label differs more from the first.
    other = rng.dirichlet(np.ones(n_classes), moved.shape)
    share = np.where(wrong, 0.4, 0.1)[:, None]
    log = TrainingLog(
        labels=labels,
        losses=losses.astype(np.float32),
        predictions=predictions,
        probabilities=probabilities,
        lr=np.where(np.arange(n_epochs) < n_epochs * 2 // 3, 0.1, 0.01),
        features=features,
        n_classes=n_classes,
        confidences=confidences,
        batches=rng.permuted(np.tile(np.arange(n_samples) // 64, (n_epochs, 1)), axis=1),
        second_view=(1 - share) * probabilities + share * other,
    )
    return replace(log, neighbours=log.nearest(8)), truth


def check_answers_are_selections_of_the_log(selector: Selector) -> None:
    """The answer has the samples of the log, masks, and scores in [0, 1]."""
    for log, peer in _ordinary_logs():
        answer = selector.select(log, peer)
        assert isinstance(answer, Selection), "`select` must return a Selection."
        assert np.array_equal(answer.ids, log.ids), "The answer must be over the ids of the log."
        if answer.synthetic is not None:
            known = np.isin([answer.synthetic.anchors, answer.synthetic.partners], log.ids)
            assert known.all(), "Recipes must name samples of the log."


def check_corrections_are_of_the_log(corrector: LabelCorrector) -> None:
    """The answer has the samples, the given labels and the classes of the log."""
    for log, peer in _ordinary_logs():
        answer = corrector.correct(log, peer)
        assert isinstance(answer, CorrectedLabels), "`correct` must return CorrectedLabels."
        assert np.array_equal(answer.ids, log.ids), "The answer must be over the ids of the log."
        assert np.array_equal(answer.given, log.labels), "The given labels must be the log's."
        assert answer.probabilities.shape[1] == log.n_classes, "A column per class of the log."


def check_the_log_stays_as_it_was(rule: Rule) -> None:
    """The answer writes nothing into the log."""
    log, peer = next(_ordinary_logs())
    before = {name: getattr(log, name).copy() for name in log.columns}
    _answer(rule, log, peer)
    for name, values in before.items():
        assert np.array_equal(getattr(log, name), values), f"The answer changed `{name}`."


def check_the_answer_depends_on_nothing_else(rule: Rule) -> None:
    """Asking twice gives the same answer, whatever the global random state."""
    log, peer = next(_ordinary_logs())
    state = np.random.get_state()  # noqa: NPY002 (the global state is the point)
    try:
        np.random.seed(1)  # noqa: NPY002
        first = _answer(rule, log, peer)
        np.random.seed(2)  # noqa: NPY002
        second = _answer(copy.deepcopy(rule), log, peer)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert first == second, "Two answers to one log differ: draw only from `random_state`."


def check_permuting_samples_permutes_the_answer(selector: Selector) -> None:
    """The order of the samples does not matter."""
    for log, peer in _ordinary_logs():
        order = np.random.default_rng(5).permutation(log.n_samples)
        answer = selector.select(log, peer)
        permuted = selector.select(log.take(order), None if peer is None else peer.take(order))
        for name in ("clean", "score", "trust", "weights", "reason"):
            _assert_equal(getattr(permuted, name), getattr(answer, name)[order], name, "permuting")
        assert permuted.synthetic == answer.synthetic, "Permuting the samples changed the recipes."


def check_renaming_classes_changes_nothing(selector: Selector) -> None:
    """The names of the classes do not matter."""
    for log, peer in _ordinary_logs():
        name_of = np.roll(np.arange(log.n_classes), 1)
        answer = selector.select(log, peer)
        renamed = selector.select(
            _renamed(log, name_of), None if peer is None else _renamed(peer, name_of)
        )
        for name in ("clean", "score", "trust", "weights", "reason"):
            _assert_equal(
                getattr(renamed, name), getattr(answer, name), name, "renaming classes in"
            )
        if answer.synthetic is not None:
            expected = replace(answer.synthetic, labels=name_of[answer.synthetic.labels])
            assert renamed.synthetic == expected, "Renaming the classes changed the recipes."


def check_permuting_samples_permutes_the_correction(corrector: LabelCorrector) -> None:
    """The order of the samples does not matter."""
    for log, peer in _ordinary_logs():
        order = np.random.default_rng(5).permutation(log.n_samples)
        answer = corrector.correct(log, peer)
        permuted = corrector.correct(log.take(order), None if peer is None else peer.take(order))
        for name in ("labels", "probabilities"):
            _assert_equal(getattr(permuted, name), getattr(answer, name)[order], name, "permuting")


def check_renaming_classes_renames_the_correction(corrector: LabelCorrector) -> None:
    """The names of the classes do not matter."""
    for log, peer in _ordinary_logs():
        name_of = np.roll(np.arange(log.n_classes), 1)
        answer = corrector.correct(log, peer)
        renamed = corrector.correct(
            _renamed(log, name_of), None if peer is None else _renamed(peer, name_of)
        )
        what = "renaming classes in"
        _assert_equal(renamed.labels, name_of[answer.labels], "labels", what)
        expected = answer.probabilities[:, np.argsort(name_of)]
        _assert_equal(renamed.probabilities, expected, "probabilities", what)


def check_float32_and_float64_agree(selector: Selector) -> None:
    """The precision of the recorded losses does not matter."""
    log, peer = next(_ordinary_logs())
    assert log.losses is not None
    # Digits that float32 does not hold.
    digits = 1e-9 * np.random.default_rng(7).normal(size=log.losses.shape)
    wide = replace(log, losses=log.losses.astype(np.float64) * (1 + digits))
    _assert_equal(
        selector.select(wide, peer).clean, selector.select(log, peer).clean, "clean", "widening"
    )


def check_history_is_all_that_is_read(rule: Rule) -> None:
    """A memory bank with `window=rule.history` loses nothing."""
    for log, peer in _ordinary_logs():
        short = _answer(
            rule, log.last(rule.history), None if peer is None else peer.last(rule.history)
        )
        assert short == _answer(rule, log, peer), (
            f"`history` is {rule.history}, but earlier epochs change the answer."
        )


def check_an_answer_without_epochs_is_that_of_every_epoch(selector: Selector) -> None:
    """A selector that says it reads no epochs gives the same answer at each."""
    if selector.reads_epochs:
        return
    for log, peer in _ordinary_logs():
        earlier = selector.select(log.until(3), None if peer is None else peer.until(3))
        assert earlier == selector.select(log, peer), (
            "`reads_epochs` is False, but the answer is another one at another epoch."
        )


def check_unusable_samples_are_never_selected(selector: Selector) -> None:
    """A sample with a loss that is not finite is not selected, and disturbs no other."""
    if isinstance(selector, Complement | Combined | Vote):
        return  # The law comes first: ~f selects what f does not.
    log, peer = next(_ordinary_logs())
    assert log.losses is not None
    losses = log.losses.copy()
    losses[-1, [3, 17]] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        answer = selector.select(replace(log, losses=losses), peer)
    assert not answer.clean[[3, 17]].any(), "Samples with non-finite losses were selected."
    rest = np.delete(np.arange(log.n_samples), [3, 17])
    alone = selector.select(log.take(rest), None if peer is None else peer.take(rest))
    _assert_equal(answer.clean[rest], alone.clean, "clean", "two non-finite losses in")


def check_unusable_samples_keep_their_label(corrector: LabelCorrector) -> None:
    """A sample with a loss that is not finite keeps its given label, and disturbs no other."""
    log, peer = next(_ordinary_logs())
    assert log.losses is not None
    losses = log.losses.copy()
    losses[-1, [3, 17]] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)
        answer = corrector.correct(replace(log, losses=losses), peer)
    given = np.eye(log.n_classes)[log.labels[[3, 17]]]
    assert np.array_equal(answer.probabilities[[3, 17]], given), (
        "Samples with non-finite losses were corrected."
    )
    rest = np.delete(np.arange(log.n_samples), [3, 17])
    alone = corrector.correct(log.take(rest), None if peer is None else peer.take(rest))
    _assert_equal(
        answer.probabilities[rest], alone.probabilities, "probabilities", "two non-finite losses in"
    )


def check_degenerate_logs_are_answered(rule: Rule) -> None:
    """All evidence equal, one class, a class missing, few samples: an answer, no crash, no NaN."""
    log, _ = synthetic_log()
    assert log.losses is not None and log.probabilities is not None
    for odd in (
        replace(log, losses=np.ones_like(log.losses)),
        replace(log, probabilities=np.full_like(log.probabilities, 1 / log.n_classes)),
        replace(log, labels=np.zeros_like(log.labels)),
        replace(log, labels=np.where(log.labels == 1, 2, log.labels)),
        log.take([0]),
        log.take([0, 1, 2]),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateWarning)
            _answer(rule, odd)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        try:
            _answer(rule, log.last(1))
        except MissingEvidenceError as error:
            assert "epochs" in str(error), "Too short a log must be refused by its epochs."


def check_missing_columns_are_named(rule: Rule) -> None:
    """A log without a needed column is refused with its name."""
    log, _ = synthetic_log()
    for name in rule.needs:
        try:
            without: dict[str, Any] = {name: None}
            _answer(rule, replace(log, **without))
        except MissingEvidenceError as error:
            assert f"`{name}`" in str(error), f"The error must name `{name}`."
        else:
            raise AssertionError(f"A log without `{name}` was accepted, though it is needed.")


def check_the_representation_makes_it_again(rule: Rule) -> None:
    """``eval(repr(rule))`` is the same rule."""
    names = {name: getattr(noisyselect, name) for name in noisyselect.__all__}
    names |= {type(part).__name__: type(part) for part in _parts(rule)}
    again = eval(repr(rule), names)  # noqa: S307 (our own repr)
    assert repr(again) == repr(rule), f"{rule!r} does not make itself again."


def check_the_docstring_is_complete(rule: Rule) -> None:
    """The class documents its parameters, its source and an example."""
    doc = type(rule).__doc__ or ""
    if isinstance(rule, Complement | Combined | Vote):
        return
    options = list(inspect.signature(type(rule)).parameters)
    sections = [*(["Parameters"] if options else []), "Notes", "References", "Examples"]
    lacking = [f"the section {name}" for name in sections if f"{name}\n    ---" not in doc]
    lacking += [f"the option `{name}`" for name in options if name not in doc]
    assert not lacking, f"The docstring lacks {', '.join(lacking)}."


def _answer(rule: Rule, log: TrainingLog, peer: TrainingLog | None = None) -> object:
    """Ask a selector or a label corrector."""
    if isinstance(rule, LabelCorrector):
        return rule.correct(log, peer)
    assert isinstance(rule, Selector)
    return rule.select(log, peer)


def _parts(rule: Rule) -> list[Rule]:
    """Return the selectors that a combination is made of, and the votes in it, or the rule."""
    match rule:
        case Combined():
            return [*_parts(rule.left), *_parts(rule.right)]
        case Complement():
            return _parts(rule.of)
        case Vote():
            return [rule, *(part for voter in rule.selectors for part in _parts(voter))]
        case _:
            return [rule]


def _ordinary_logs() -> Iterator[tuple[TrainingLog, TrainingLog | None]]:
    """Yield logs without ties, one network and two, at a constant rate and after a change."""
    log, _ = synthetic_log(seed=0)
    peer = replace(synthetic_log(seed=1)[0], labels=log.labels)
    yield log.until(7), None
    yield log, None
    yield log, peer
    yield log.until(7), peer.until(7)
    noisier, _ = synthetic_log(noise_rate=0.6, overlap=0.6, seed=2)
    yield noisier, None


def _renamed(log: TrainingLog, name_of: AnyArray) -> TrainingLog:
    changes: dict[str, Any] = {"labels": name_of[log.labels]}
    if log.predictions is not None:
        changes["predictions"] = name_of[log.predictions]
    for name in ("probabilities", "second_view"):
        if getattr(log, name) is not None:
            changes[name] = getattr(log, name)[..., np.argsort(name_of)]
    return replace(log, **changes)


def _assert_equal(got: AnyArray, expected: AnyArray, name: str, what: str) -> None:
    if got.dtype.kind == "f":
        equal = np.isclose(got, expected, rtol=0, atol=1e-9)
    else:
        equal = got == expected
    assert equal.all(), f"{what} the log changed `{name}` of {int((~equal).sum())} samples."
