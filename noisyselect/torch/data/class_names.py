"""What the classes of a data set are called."""

from __future__ import annotations

import json
from pathlib import Path

from noisyselect.arrays import IntArray


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """Return the names in ``classes.json`` or ``classes.txt``, or None if there is neither.

    The first holds a list of names, or an object with such a list as ``fine``; the second a name
    on each line.

    Raises
    ------
    ValueError
        If ``classes.json`` holds something else.
    """
    if (folder / "classes.json").is_file():
        described = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        names = described.get("fine") if isinstance(described, dict) else described
        if not isinstance(names, list):
            raise ValueError(
                f"{folder / 'classes.json'} must hold a list of class names, or an object with "
                f"such a list as `fine`, got {type(names).__name__}."
            )
        return tuple(str(name) for name in names)
    if (folder / "classes.txt").is_file():
        return names_of_lines(folder / "classes.txt")
    return None


def names_of_lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are not blank."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def numbered(*labels: IntArray) -> tuple[str, ...]:
    """Return "0", "1", ... up to the highest of these labels."""
    return tuple(str(c) for c in range(1 + max(int(part.max(initial=0)) for part in labels)))
