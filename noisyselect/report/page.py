"""From a run to a page: evidence, figures, words, one file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from noisyselect import __version__
from noisyselect.report import figures, summary, wording
from noisyselect.report.evidence import Evidence, gather
from noisyselect.report.suspects import N_SHOWN, Suspect, describe, suspicious_rows
from noisyselect.report.thumbnails import images_of, thumbnails
from noisyselect.store import Run
from noisyselect.store.files import write_file

if TYPE_CHECKING:
    from noisyselect.torch import TrainingData


def write_report(
    run: Run,
    out: str | os.PathLike[str],
    *,
    selector: str = "auto",
    network: str | None = None,
    images: TrainingData | str | Path | None = None,
    title: str | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Evidence:
    """Write a report of a run as one HTML file that needs nothing else and opens from disk.

    Parameters
    ----------
    run : Run
        With truth known, the report says what the selectors are worth; else how far they agree.
    out : path
        Of the file; folders are made.
    selector : str, default="auto"
        Name of the selector whose answer is shown, as `noisyselect.bench.named_selectors` has them.
        By default ``"vrlv"`` where a run of two networks has what it needs, else ``"gmm"``, else
        what the run has evidence for.
    network : str, optional
        Network whose labels are selected. By default the first.
    images : TrainingData, str or path, optional
        The images of the samples, for thumbnails: a data set, or what
        `noisyselect.torch.load_data` takes. Samples are found in it by id.
    title : str, optional
        By default the name of the run directory.
    on_step : callable, optional
        Called with what is being done, as text.

    Returns
    -------
    Evidence
        What the report rests on.

    Raises
    ------
    MissingEvidenceError
        If the run has no closed epoch or lacks what the selector needs.
    DamagedRunError
        If the run is damaged.
    ValueError
        If the selector or network is unknown, or `images` are not of this run.

    Warns
    -----
    NonFiniteWarning, DegenerateWarning
        As reading the run and the selector that is shown warn. The report says it as well.
    """
    say = on_step or (lambda _: None)
    evidence = gather(run, selector, network, say)
    pictures = None
    if images is not None:
        say("Reading images")
        pictures = images_of(images)
    names = _class_names(run, pictures)
    rows = suspicious_rows(evidence)
    shown = rows[:N_SHOWN]
    encoded = {} if pictures is None else thumbnails(pictures, run.ids, shown)
    say("Drawing")
    page = _render(
        evidence,
        names,
        describe(evidence, shown, names, encoded),
        n_dropped=rows.size,
        title=title or run.path.resolve().name,
        pictures=pictures.name if pictures is not None else "",
    )
    path = Path(out)
    write_file(path.parent, path.name, page.encode())
    return evidence


def _class_names(run: Run, pictures: TrainingData | None) -> list[str]:
    if run.class_names is not None:
        return list(run.class_names)
    if pictures is not None and pictures.n_classes == run.n_classes:
        return list(pictures.class_names)
    return [str(label) for label in range(run.n_classes)]


def _render(
    evidence: Evidence,
    names: list[str],
    suspects: list[Suspect],
    *,
    n_dropped: int,
    title: str,
    pictures: str,
) -> str:
    script = _file("report.js")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": wording.percent,
        "count": wording.count,
        "decimal": wording.decimal,
        "first_sentence": wording.first_sentence,
    }
    template = environment.from_string(_file("report.html.jinja"))
    return template.render(
        title=title,
        evidence=evidence,
        run=evidence.run,
        path=shlex.quote(str(evidence.run.path)),
        version=__version__,
        style=Markup(_file("report.css")),  # noqa: S704 (ours)
        script=Markup(script),  # noqa: S704 (ours)
        script_hash=_script_hash(script),
        answers=summary.answers(evidence),
        selectors=summary.selectors_table(evidence),
        rules={name: wording.rule(each) for name, each in evidence.selectors.items()},
        over_epochs=figures.over_epochs(evidence),
        per_class=figures.per_class(evidence, names),
        classes=summary.classes_table(evidence, names),
        losses=figures.losses(evidence),
        data_map=figures.data_map(evidence),
        trajectories=figures.trajectories(evidence),
        confusion=figures.confusion(evidence, names),
        pairs=[(names[a], names[b], n) for a, b, n in figures.confused_pairs(evidence)],
        suspects=suspects,
        n_dropped=n_dropped,
        n_wrong=sum(suspect.wrong for suspect in suspects),
        pictures=pictures,
        given_names=sorted({suspect.given for suspect in suspects}, key=names.index),
        predicted_names=sorted(
            {suspect.predicted for suspect in suspects if suspect.predicted}, key=names.index
        ),
        settings=_settings(evidence.run),
    )


def _file(name: str) -> str:
    return files("noisyselect.report").joinpath(name).read_text(encoding="utf-8")


def _script_hash(script: str) -> str:
    """Return what the page's policy calls the only script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _settings(run: Run) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return [(str(name), text(value)) for name, value in run.settings.items()]
