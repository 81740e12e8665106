"""What a run shows of its samples beside losses and predictions: to its selector, and on disk."""

from __future__ import annotations

from dataclasses import dataclass

from noisyselect.selector import Selector
from noisyselect.torch.settings import Settings

# By their names in a TrainingLog; `Settings.record` has "second-view".
_OPTIONAL = {"probabilities", "second_view", "batches", "features"}
_VIEWS = {"probabilities", "second_view"}


@dataclass(frozen=True)
class Columns:
    """Which of the optional columns a run has, by their names in a `TrainingLog`.

    Parameters
    ----------
    settings : Settings
    selector : Selector, optional
        Is shown what it declares to need, recorded or not.

    Raises
    ------
    ValueError
        If it needs a second view and there is no augmentation.
    """

    settings: Settings
    selector: Selector | None

    def __post_init__(self) -> None:
        if "second_view" in self.needed and not self.settings.augment:
            raise ValueError(
                f"{self.selector!r} needs a second view, which only `augment` makes: without it "
                "both views of a sample are the same."
            )

    @property
    def needed(self) -> set[str]:
        """What the selector reads."""
        return set(self.selector.needs if self.selector else ()) & _OPTIONAL

    @property
    def held(self) -> set[str]:
        """What the memory banks hold: rules that go by batches can do without, but not as well."""
        return self.needed | ({"batches"} & set(self.settings.record))

    def written(self, epoch: int) -> set[str]:
        """Return what is written down of an epoch."""
        settings = self.settings
        columns = {name.replace("-", "_") for name in settings.record}
        if epoch < settings.epochs - (settings.record_last or settings.epochs):
            columns -= _VIEWS
        if epoch < settings.epochs - 1:
            columns.discard("features")
        return columns

    def shown(self, epoch: int) -> set[str]:
        """Return what an epoch must have."""
        return self.needed | self.written(epoch)
