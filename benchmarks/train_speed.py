"""Time the stages of a run: images per second, and what is spent outside the networks' passes.

Two short runs of the trainer itself, VRLVMix with SimCLR, without and with semantic clustering, and
a stopwatch around each stage and every forward and backward pass in it. A forward pass is what the
trainer hands a network and gets back, the change of precision included; the backward pass begins at
the loss. On an accelerator passes are timed by events on its stream, and stages wait for it at both
ends. Printed are medians without the first call of a stage, which compiles kernels. An image is a
view: a row of a forward pass that a backward pass follows; in evaluation, of any forward pass. The
goal: of an epoch under 5 % outside the passes, and under 1 % in the selection.

    python benchmarks/train_speed.py --samples 2000
"""

import argparse
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from noisyselect.errors import DegenerateWarning
from noisyselect.torch import Settings, TrainingData, evaluation, load_data, train, with_noise
from noisyselect.torch.learner import Learner
from noisyselect.torch.precision import resolve_precision
from noisyselect.torch.pretrain import pretrained
from noisyselect.torch.trainer import run as trainer

SCHEDULE = {
    "epochs": 7, "warm_up": 3, "window": 2, "pretrain_epochs": 3, "clustering_epochs": 3,
    "pretrain_lr": 0.05,
}  # fmt: skip


@dataclass
class Stage:
    """One call of a stage: seconds, in all and of its passes, optimisers and parts; images."""

    name: str
    seconds: float = 0.0
    passes: float = 0.0
    optimiser: float = 0.0
    images: int = 0
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Stopwatch:
    """Times stages, one within another, and the passes in them."""

    device: torch.device
    stages: list[Stage] = field(default_factory=list)
    running: list[Stage] = field(default_factory=list)
    # Of the innermost stage: attribute, start and end of what was timed.
    marks: list[tuple[str, object, object]] = field(default_factory=list)

    def mark(self):
        """Return this moment of the device's work, to be read when all is done."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self):
        """Return the time once the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def read_marks(self):
        """Credit what was timed since the last call to all stages that run."""
        for attribute, start, end in self.marks:
            events = self.device.type == "cuda"
            seconds = start.elapsed_time(end) / 1000 if events else end - start
            for stage in self.running:
                setattr(stage, attribute, getattr(stage, attribute) + seconds)
        self.marks.clear()

    @contextmanager
    def stage(self, name):
        """Time what is done in the block."""
        start = self.wait()
        self.read_marks()
        stage = Stage(name)
        self.running.append(stage)
        yield
        stage.seconds = self.wait() - start
        self.read_marks()
        self.running.pop()
        self.stages.append(stage)

    def timed(self, function, attribute="passes"):
        """Return the function, its time credited to an attribute of the stages that run."""

        def watched(*args, **keywords):
            start = self.mark()
            answer = function(*args, **keywords)
            self.marks.append((attribute, start, self.mark()))
            return answer

        return watched

    def counted(self, forward, *, always=False):
        """Return a forward pass, timed; its rows count where gradients flow, or `always`."""
        watched = self.timed(forward)

        def counting(*args):
            if always or torch.is_grad_enabled():
                for stage in self.running:
                    stage.images += len(args[-1])
            return watched(*args)

        return counting


def watch_the_trainer(watch):
    """Put the stopwatch into the trainer, for the rest of this process."""

    def staged(owner, name, stage_of):
        original = getattr(owner, name)

        def watched(*args, **keywords):
            with watch.stage(stage_of(*args)):
                return original(*args, **keywords)

        setattr(owner, name, watched)

    staged(pretrained, "simclr_epoch", lambda *_: "SimCLR")
    staged(pretrained, "scan_epoch", lambda *_: "SCAN, pre-training")
    staged(trainer, "warm_up_epoch", warm_up_stage)
    staged(trainer, "mixmatch_epoch", lambda *_: "MixMatch")
    staged(trainer, "scan_epoch", lambda *_: "SCAN")
    staged(trainer, "evaluate", lambda *_: "evaluation")
    staged(trainer, "accuracy", lambda *_: "evaluation")
    staged(trainer._Run, "_select", lambda *_: "selection")
    staged(trainer._Run, "_close", lambda *_: "writing")
    staged(trainer._Run, "_epoch", epoch_stage)

    Learner.logits = watch.counted(Learner.logits)
    Learner.through_head = watch.counted(Learner.through_head)
    pretrained._Phase.through_head = watch.counted(pretrained._Phase.through_head)
    torch.Tensor.backward = watch.timed(torch.Tensor.backward)
    torch.optim.SGD.step = watch.timed(torch.optim.SGD.step, "optimiser")
    of_all = evaluation._of_all
    evaluation._of_all = lambda answer, *rest: of_all(watch.counted(answer, always=True), *rest)


def warm_up_stage(network, *_):
    whole = all(weight.requires_grad for weight in network.module.parameters())
    return "warm-up" if whole else "warm-up, classifier alone"


def epoch_stage(run, epoch):
    phase = run._phase(epoch)
    return (
        f"epoch of {phase}, clustered"
        if run.scan_on and "scan" not in phase
        else f"epoch of {phase}"
    )


def images(name, n_samples):
    """Return so many training images, 40 % of their labels wrong, and a fifth as many to test."""
    if name == "synthetic":
        rng = np.random.default_rng(0)
        values = rng.integers(0, 256, (n_samples + n_samples // 5, 3, 32, 32), dtype=np.uint8)
        labels = rng.integers(0, 10, len(values))
        data = TrainingData(
            inputs=values[:n_samples],
            labels=labels[:n_samples],
            test_inputs=values[n_samples:],
            test_labels=labels[n_samples:],
            class_names=tuple("abcdefghij"),
        )
    else:
        data = load_data(name, subset=n_samples)
        # As many for each training sample as in the whole of CIFAR, and not by class.
        rows = np.random.default_rng(0).permutation(len(data.test_labels))[: n_samples // 5]
        data = TrainingData(
            inputs=data.inputs,
            labels=data.labels,
            test_inputs=data.test_inputs[rows],
            test_labels=data.test_labels[rows],
            class_names=data.class_names,
        )
    return with_noise(data, "sym", 0.4, seed=0)


def percent(share):
    return f"{100 * share:.1f} %"


def by_name(stages):
    """Yield each name once, with what was measured of its calls but the first."""
    calls = defaultdict(list)
    for stage in stages:
        calls[stage.name].append(stage)
    for name, each in calls.items():
        yield name, each[1:] or each


def stage_table(stages):
    table = Table(title="by stage, of one network; selection and writing of both")
    for heading in ("stage", "seconds", "images/s", "passes", "optimiser", "rest"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, calls in by_name(stages):
        if name.startswith("epoch"):
            continue
        seconds = f"{np.median([call.seconds for call in calls]):.3f}"
        if not calls[0].images:
            table.add_row(name, seconds)
            continue
        rate = np.median([call.images / call.seconds for call in calls])
        passes = np.median([call.passes / call.seconds for call in calls])
        optimiser = np.median([call.optimiser / call.seconds for call in calls])
        shares = (passes, optimiser, 1 - passes - optimiser)
        table.add_row(name, seconds, f"{rate:,.0f}", *map(percent, shares))
    return table


def epoch_table(stages):
    """Return a table of whole epochs, and where their time goes."""
    table = Table(title="by epoch, both networks")
    headings = ("epoch", "seconds", "outside passes", "optimiser", "selection", "writing")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "epoch" else "right")
    for name, epochs in by_name(with_parts(stages)):
        shares = [
            [
                epoch.seconds - epoch.passes,
                epoch.optimiser,
                epoch.parts["selection"],
                epoch.parts["writing"],
            ]
            / np.float64(epoch.seconds)
            for epoch in epochs
        ]
        seconds = np.median([epoch.seconds for epoch in epochs])
        cells = map(percent, np.median(shares, axis=0))
        table.add_row(name.removeprefix("epoch of "), f"{seconds:.2f}", *cells)
    return table


def with_parts(stages):
    """Yield the stages that are epochs, each with the seconds of the stages in it."""
    parts = defaultdict(float)
    for stage in stages:
        if stage.name.startswith("epoch"):
            stage.parts = parts
            parts = defaultdict(float)
            yield stage
        else:
            parts[stage.name] += stage.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda, cifar = torch.cuda.is_available(), Path("../shared/data/cifar10").is_dir()
    parser.add_argument("--network", default="preact-resnet18" if cuda else "small-cnn")
    parser.add_argument("--data", default="cifar10" if cifar else "synthetic")
    parser.add_argument("--samples", type=int, default=50_000 if cuda else 2000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch-size", type=int, default=64, help="labelled samples of a step")
    options = parser.parse_args()
    warnings.simplefilter("ignore", DegenerateWarning)
    device = torch.device(options.device)
    settings = Settings(
        network=options.network,
        precision=options.precision,
        compile=options.compile,
        batch_size=options.batch_size,
        **SCHEDULE,
    )
    data = images(options.data, options.samples)
    watch = Stopwatch(device)
    watch_the_trainer(watch)
    with tempfile.TemporaryDirectory() as folder:
        for scan in ("off", "on"):
            chosen, cache = replace(settings, scan=scan), Path(folder) / "pretrained"
            train(data, chosen, Path(folder) / scan, pretrained=cache, device=options.device)
    console = Console(width=100)
    precision = resolve_precision(options.precision, device)
    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    compiled = ", compiled" if options.compile else ""
    console.print(
        f"{options.network}, {data.n_samples} images of {options.data}, {precision}, "
        f"{where}{compiled}, torch {torch.__version__}"
    )
    console.print(stage_table(watch.stages))
    console.print(epoch_table(watch.stages))


if __name__ == "__main__":
    main()
