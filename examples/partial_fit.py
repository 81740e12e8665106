"""A scikit-learn model that trains on its own selection: `partial_fit`, no deep learning.

Digits with 30 % of the labels replaced at random. After a few passes over everything, each pass
trains only on the samples whose loss the mixture finds small. Run: python examples/partial_fit.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from noisyselect import GMMSelector, MemoryBank


def run(n_epochs=30, warm_up=5, seed=0):
    X, truth = load_digits(return_X_y=True)
    X, X_test, truth, truth_test = train_test_split(
        X / 16, truth, test_size=0.3, random_state=seed, stratify=truth
    )
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(truth.size) < 0.3, rng.integers(0, 10, truth.size), truth)

    model = MLPClassifier((256,), learning_rate_init=0.005, random_state=seed)
    bank = MemoryBank(labels, n_classes=10, window=GMMSelector().history)
    chosen = np.arange(truth.size)
    for epoch in range(n_epochs):
        for batch in np.array_split(rng.permutation(chosen), 10):
            model.partial_fit(X[batch], labels[batch], classes=np.arange(10))

        # At the end of each epoch, what the model thinks of every sample.
        probabilities = model.predict_proba(X)
        losses = -np.log(np.maximum(probabilities[np.arange(truth.size), labels], 1e-12))
        bank.record(np.arange(truth.size), losses=losses, probabilities=probabilities)
        bank.end_epoch()
        if epoch + 1 >= warm_up:
            chosen = GMMSelector().select(bank.log()).labelled

    plain = MLPClassifier((256,), learning_rate_init=0.005, random_state=seed)
    for _ in range(n_epochs):
        for batch in np.array_split(rng.permutation(truth.size), 10):
            plain.partial_fit(X[batch], labels[batch], classes=np.arange(10))
    return {
        "plain": plain.score(X_test, truth_test),
        "selected": model.score(X_test, truth_test),
        "wrong among all": np.mean(labels != truth),
        "wrong among selected": np.mean((labels != truth)[chosen]),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:22s} {value:.3f}")
