"""Samples and their labels: where they come from, and how labels go wrong."""

from noisyselect.torch.data.features import save_features
from noisyselect.torch.data.image_files import ImageFiles
from noisyselect.torch.data.labelled_table import LabelledTable, read_labelled_table
from noisyselect.torch.data.load import DATA_HOME, load_data
from noisyselect.torch.data.noise import with_noise
from noisyselect.torch.data.pool import balanced_pool
from noisyselect.torch.data.saved_labels import with_labels
from noisyselect.torch.data.training_data import TrainingData

__all__ = [
    "DATA_HOME",
    "ImageFiles",
    "LabelledTable",
    "TrainingData",
    "balanced_pool",
    "load_data",
    "read_labelled_table",
    "save_features",
    "with_labels",
    "with_noise",
]
