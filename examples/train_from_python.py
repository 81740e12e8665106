"""The reference trainer from Python: VRLVMix on digits with wrong labels and a network of your own.

Symmetric noise: 40 % of the labels are drawn anew from all ten classes, so 36 % are wrong. Run:
python examples/train_from_python.py
"""

import tempfile
from pathlib import Path

from torch import nn

from noisyselect import open_run
from noisyselect.torch import Settings, load_data, train, with_noise


def small_mlp():
    """Any module that turns images into logits will do."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def run(out, n_epochs=40, seed=0, on_epoch=None):
    data = with_noise(load_data("digits"), "sym", 0.4, seed=seed)
    settings = Settings(method="vrlvmix", epochs=n_epochs, augment=False, seed=seed)
    result = train(data, settings, out, network=small_mlp, on_epoch=on_epoch)
    return {
        "wrong labels": data.noise["realised_rate"],
        "wrong labels memorised": result.epochs[-1].measures["fitted_wrong_a"],
        "test accuracy, last epoch": result.last,
        "test accuracy, best epoch": result.best,
    }


if __name__ == "__main__":
    path = Path(tempfile.mkdtemp()) / "run"
    measures = run(path, on_epoch=lambda epoch: print(epoch.epoch, f"{epoch.test_accuracy:.3f}"))
    for name, value in measures.items():
        print(f"{name:26} {value:.3f}")
    print(f"{path} holds {open_run(path).log('a')}")
