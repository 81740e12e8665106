"""Print what `noisyselect compare` left in folders as the tables of docs/reproduction.md.

python benchmarks/reproduction.py sym50 sym80 asym40 random1
"""

import argparse
import json
from pathlib import Path

import numpy as np

# Name in compare.json, and heading.
COLUMNS = {
    "last_5": "test, last 5 epochs",
    "best": "test, best epoch",
    "fitted_wrong": "wrong labels memorised",
    "precision_a": "precision of a",
    "precision_b": "precision of b",
    "recall": "recall",
}
NAMES = {
    "ce": "cross-entropy",
    "dividemix": "DivideMix",
    "scanmix": "ScanMix",
    "coteaching": "Co-teaching",
    "vrlvmix": "VRLVMix",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args().folders:
        print(table(json.loads((folder / "compare.json").read_text()), folder.name))


def table(comparison, name):
    data = comparison["data"]
    wrong = 100 * np.mean(comparison["realised_noise_rates"])
    lines = [
        f"**{name}**: {data['n_samples']:,} samples, {wrong:.1f} % wrong labels. "
        f"{comparison['memorisation']}\n",
        f"| method | {' | '.join(COLUMNS.values())} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for method in comparison["methods"]:
        cells = [cell(method["measures"][column]) for column in COLUMNS]
        words = method["method"].split(" ", 1)
        lines.append(f"| {' '.join([NAMES[words[0]], *words[1:]])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(values):
    """Mean and deviation over the seeds, in per cent."""
    if None in values:
        return ""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
