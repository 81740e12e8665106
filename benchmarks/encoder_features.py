"""Make features of CIFAR-10 by an encoder that was trained on CIFAR-100, as many have one given.

No image and no label of CIFAR-10 is read in training the encoder, and the two data sets share no
class; so the features know nothing of which labels are wrong. Both data sets come from
`../shared/data`. 44 minutes of processor time on two cores of an AMD EPYC (2026-11-25), under a
minute on an NVIDIA H200 (2026-11-28).

    python benchmarks/encoder_features.py --subset 20000 --out e20.npz
    noisyselect compare --data e20.npz --noise asym --noise-rate 0.4 --out asym40
"""

import argparse

import numpy as np
import torch
from rich.progress import Progress
from torch import nn
from torch.nn import functional

from noisyselect.torch import load_data, save_features
from noisyselect.torch.augment import crop_and_flip
from noisyselect.torch.inputs import Pixels
from noisyselect.torch.models import penultimate
from noisyselect.torch.precision import autocast

_BATCH = 256
_TOP_RATE = 0.4


class Residual(nn.Module):
    """Two convolutions around which the input is led."""

    def __init__(self, channels):
        super().__init__()
        self.convolutions = nn.Sequential(
            *convolution(channels, channels), *convolution(channels, channels)
        )

    def forward(self, maps):
        """Return maps of the same shape."""
        return maps + self.convolutions(maps)


def convolution(in_channels, out_channels, stride=1):
    yield nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    yield nn.BatchNorm2d(out_channels)
    yield nn.ReLU()


def encoder(n_classes, width):
    """Return a residual network of 8 convolutions whose last layer is given 8 * width features."""
    return nn.Sequential(
        *convolution(3, width),
        *convolution(width, 2 * width, stride=2),
        *convolution(2 * width, 4 * width, stride=2),
        Residual(4 * width),
        *convolution(4 * width, 8 * width, stride=2),
        Residual(8 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, n_classes),
    ).to(memory_format=torch.channels_last)


def trained(data, width, epochs, precision, device):
    """Return an encoder trained by cross-entropy on all labels, rate up and down once."""
    pixels = Pixels(data.inputs, device)
    labels = torch.from_numpy(data.labels.copy()).to(device)
    network = encoder(data.n_classes, width).to(device)
    optimiser = torch.optim.SGD(
        network.parameters(), momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    n_steps = len(labels) // _BATCH * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _TOP_RATE, n_steps, pct_start=0.25)
    order = torch.Generator().manual_seed(0)
    draws = torch.Generator(device).manual_seed(0)
    with Progress(transient=True) as progress:
        bar = progress.add_task("Training the encoder", total=n_steps)
        for _ in range(epochs):
            # The last, smaller batch is left out; each epoch has another one.
            for rows in torch.randperm(len(labels), generator=order).to(device).split(_BATCH):
                if len(rows) < _BATCH:
                    continue
                batch = pixels.normalise(crop_and_flip(pixels.raw(rows), draws))
                with autocast(precision, pixels.device):
                    logits = network(batch.contiguous(memory_format=torch.channels_last))
                loss = functional.cross_entropy(logits.float(), labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                progress.advance(bar)
    return network.eval(), pixels


@torch.no_grad()
def encoded(network, pixels, images):
    """Return features of images and of their mirror images, shape (n_images, 2, n_features)."""
    of_images = Pixels(images, pixels.device, like=pixels)
    views = []
    for rows in torch.arange(len(images), device=pixels.device).split(_BATCH):
        batch = of_images.normalise(of_images.raw(rows))
        views.append(
            torch.stack([penultimate(network, view)[1] for view in (batch, batch.flip(3))], 1)
        )
    # 16 bits are enough for features, and half the file.
    return torch.cat(views).half().cpu().numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="npz file to write")
    parser.add_argument("--subset", type=int, help="training images of CIFAR-10")
    parser.add_argument(
        "--width", type=int, default=32, help="the encoder gives 8 times as many features"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    others = load_data("cifar100")
    network, pixels = trained(
        others, options.width, options.epochs, options.precision, torch.device(options.device)
    )
    accuracy = np.mean(answers(network, pixels, others.test_inputs) == others.test_labels)
    print(f"test accuracy of the encoder on CIFAR-100: {accuracy:.1%}")
    data = load_data("cifar10", subset=options.subset)
    features = encoded(network, pixels, data.inputs)
    save_features(options.out, data, features, encoded(network, pixels, data.test_inputs))
    n_samples, n_views, n_features = features.shape
    print(f"{n_samples:,} samples, {n_views} views of {n_features} features: {options.out}")


@torch.no_grad()
def answers(network, pixels, images):
    """Return the predicted class of each image."""
    of_images = Pixels(images, pixels.device, like=pixels)
    rows_of_all = torch.arange(len(images), device=pixels.device).split(_BATCH)
    batches = (of_images.normalise(of_images.raw(rows)) for rows in rows_of_all)
    return torch.cat([network(batch).argmax(1) for batch in batches]).cpu().numpy()


if __name__ == "__main__":
    main()
