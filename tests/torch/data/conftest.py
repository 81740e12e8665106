"""Small data sets in files; without torch nothing here is collected."""

import io
import json
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def digits():
    from noisyselect.torch import load_data

    return load_data("digits")


def encoded(colour):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def parquet_folder(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = pa.array([0, 1, 2, 1, 0, 2], pa.int8())
    images = [encoded((10 * i, 0, 255)) for i in range(6)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
    pq.write_table(pa.table({"image": images[:3], "label": labels[:3]}), tmp_path / "test.parquet")
    (tmp_path / "classes.json").write_text(json.dumps({"fine": ["cat", "dog", "ox"]}))
    human = pa.table({"random1": pa.array([0, 1, 2, 0, 0, 1], pa.int8())})
    pq.write_table(human, tmp_path / "human_labels.parquet")
    return tmp_path


@pytest.fixture
def write_image():
    """Write an image of one colour; the end of the name says which format."""
    from PIL import Image

    def write(path, colour, width=6, height=4):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), colour, np.uint8)).save(path)

    return write
