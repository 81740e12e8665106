"""Time a MixMatch step beside the bare passes that DivideMix's algorithm cannot do without.

For B labelled and B unlabelled samples in two views these are: without gradients, the network's own
answers to all 4 B views and the peer's to the 2 B unlabelled ones; then one forward and backward
pass over the 4 B mixed views. The step is the trainer's own (`mixmatch_epoch`): it also fetches,
augments and normalises the samples, refines, sharpens and mixes, computes the loss and moves the
weights. Both with the same networks, batches, precision and memory layout, in one process, in
turns; what is printed are quartiles over the turns. The goal is a ratio of 1.1.

    OMP_NUM_THREADS=1 python benchmarks/step_cost.py
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from noisyselect import Selection
from noisyselect.torch import Settings
from noisyselect.torch.inputs import INPUTS, SelectedSamples
from noisyselect.torch.learner import Learner
from noisyselect.torch.mixmatch import Draws, given, mixmatch_epoch
from noisyselect.torch.models import make_network
from noisyselect.torch.precision import resolve_precision

# Network, its samples, and the labelled samples of a step on a processor.
CASES = (
    ("small-cnn", (3, 32, 32), 64),
    ("small-mlp", (4, 1200), 64),
    ("preact-resnet18", (3, 32, 32), 16),
)


@dataclass
class Case:
    """Two networks and as many labelled as unlabelled samples, for a few steps."""

    settings: Settings
    inputs: object
    networks: list[Learner]
    labelled: SelectedSamples
    unlabelled: torch.Tensor

    @classmethod
    def of(cls, name, shape, settings, n_steps, device):
        """Return random samples of that shape, and new networks for them."""
        n = 2 * settings.batch_size * n_steps
        rng = np.random.default_rng(0)
        kind = "images" if len(shape) == 3 else "features"
        if kind == "images":
            values = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        else:
            values = rng.normal(size=(n, *shape)).astype(np.float32)
        inputs = INPUTS[kind](values, device)
        torch.manual_seed(0)
        networks = [
            Learner(which, make_network(name, values.shape, 10), settings, device) for which in "ab"
        ]
        selection = Selection(clean=np.arange(n) < n // 2)
        labelled = SelectedSamples(inputs.values, rng.integers(0, 10, n), selection)
        return cls(settings, inputs, networks, labelled, torch.arange(n // 2, n, device=device))

    def step(self):
        """Train network a for the steps of one epoch."""
        draws = Draws.of(0, 0, 0, self.inputs.device)
        network, peer = self.networks
        losses, _ = mixmatch_epoch(
            network,
            peer,
            self.inputs,
            self.labelled,
            self.unlabelled,
            None,
            self.settings.lambda_u,
            self.settings,
            draws,
        )
        return len(losses)

    def batches(self, n_steps):
        """Return what the networks are given in these steps: labelled views, then unlabelled."""
        draws = Draws.of(0, 0, 0, self.inputs.device)
        size, answers = self.settings.batch_size, []
        for step in range(n_steps):
            x = torch.arange(step * size, (step + 1) * size, device=self.inputs.device)
            u = self.unlabelled[step * size : (step + 1) * size]
            answers.append(given(self.inputs, torch.cat([x, x, u, u]), self.settings, draws))
        return answers

    def bare(self, batches):
        """Do the passes alone."""
        network, peer = self.networks
        network.module.train()
        peer.module.eval()
        for batch in batches:
            with torch.no_grad():
                network.logits(batch)
                peer.logits(batch[len(batch) // 2 :])
            network.optimiser.zero_grad(set_to_none=True)
            logits = network.logits(batch)
            logits.backward(torch.full_like(logits, 1e-3))


def seconds(function, device):
    # Of one thread its own time counts, not what others had of a shared processor.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def measure(case, n_steps, turns, device):
    """Return seconds per step of the bare passes and of the trainer, shape (turns, 2)."""
    batches = case.batches(n_steps)
    taken = [
        (seconds(lambda: case.bare(batches), device), seconds(case.step, device))
        # The first turn compiles kernels and fills memory pools.
        for _ in range(turns + 1)
    ]
    return np.array(taken[1:]) / n_steps


def waits(case):
    """Return how often the host waits for the accelerator in the steps of a turn, by torch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        case.step()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def printed_profile(case, device):
    """Return where the operators of a few steps spend their time, by torch's profiler."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiled:
        case.step()
    return profiled.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=25)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=[name for name, *_ in CASES])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-size", type=int, help="labelled samples of a step")
    parser.add_argument("--steps", type=int, default=4, help="of one turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--compile", action="store_true", help="compile the networks")
    parser.add_argument("--profile", action="store_true", help="print the costliest operators")
    options = parser.parse_args()
    device, console = torch.device(options.device), Console(width=100)
    precision = resolve_precision(options.precision, device)
    compiled = ", compiled" if options.compile else ""
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else device
    table = Table(
        title=f"{options.turns} turns of {options.steps} steps, {precision}, {threads}{compiled}"
    )
    for heading in ("network", "B", "passes, ms", "step, ms", "step / passes [quartiles]"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name, shape, size_on_cpu in CASES:
        if name not in options.networks:
            continue
        size = options.batch_size or (size_on_cpu if device.type == "cpu" else 64)
        settings = Settings(batch_size=size, precision=options.precision, compile=options.compile)
        case = Case.of(name, shape, settings, options.steps, device)
        taken = measure(case, options.steps, options.turns, device)
        ratios = taken[:, 1] / taken[:, 0]
        passes, step = 1000 * np.median(taken, axis=0)
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        ratio = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
        table.add_row(name, str(size), f"{passes:.1f}", f"{step:.1f}", ratio)
        if device.type == "cuda":
            console.print(f"{name}: the host waits {waits(case)} times in {options.steps} steps")
        if options.profile:
            console.print(printed_profile(case, device), highlight=False, crop=False)
    console.print(table)


if __name__ == "__main__":
    main()
