"""Print what `noisyselect compare` left in folders as the tables of docs/reproduction.md.

    python benchmarks/reproduction.py sym50 sym80 asym40 random1

A folder may also be a setting of the claim's cells:

    python benchmarks/reproduction.py benchmarks/claim/cells/e20/sym50

and with the rows of the paper's Table IV, as far as there are cells of them:

    python benchmarks/reproduction.py --ablations benchmarks/claim/cells/e20/sym80
"""

import argparse
import json
from pathlib import Path

import numpy as np

from noisyselect.torch.compare import MethodSummary, memorisation

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
    "vrlvmix-plus": "VRLVMix plus",
}
# Cells of Table IV. What the claim calls vrlvmix has no semantic clustering.
ABLATIONS = {
    "with-scan": "VRLVMix",
    "with-scan-no-variance": "VRLVMix without VRLV",
    "with-scan-no-balance": "VRLVMix without balancing",
    "no-balance": "VRLVMix without balancing and SCAN",
    "vrlvmix": "VRLVMix without SCAN",
    "no-variance": "VRLVMix without VRLV and SCAN",
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--ablations", action="store_true", help="of cells: the paper's Table IV")
    options = parser.parse_args(arguments)
    of_cells = {"ce": NAMES["ce"], **ABLATIONS} if options.ablations else NAMES
    for folder in options.folders:
        if (folder / "compare.json").exists():
            print(table(json.loads((folder / "compare.json").read_text()), folder.name, NAMES))
        else:
            print(table(comparison_of(folder, of_cells), folder.name, of_cells))


def comparison_of(folder, names):
    """Return of the cells of a setting what `compare` leaves of its runs."""
    cells = {
        method: [json.loads(path.read_text()) for path in sorted(folder.glob(f"{method}-?.json"))]
        for method in names
    }
    summaries = [summary(method, found) for method, found in cells.items() if found]
    return {
        "data": {"n_samples": cells["ce"][0]["n_samples"]},
        "realised_noise_rates": summaries[0].realised_rates,
        "memorisation": memorisation(summaries),
        "methods": [
            {
                "method": each.method,
                "measures": {
                    name: [None if np.isnan(value) else value for value in values]
                    for name, values in each.measures.items()
                },
            }
            for each in summaries
        ],
    }


def summary(method, cells):
    """Return several seeds' cells of a method as `compare` summarises its runs."""
    curves = {"test_accuracy": [cell["curves"]["test_accuracy"] for cell in cells]}
    curves["fitted_wrong"] = [
        np.mean([cell["curves"][f"fitted_wrong_{name}"] for name in "ab"], axis=0) for cell in cells
    ]
    for measure in ("precision", "recall"):
        for name in "ab":
            # Of cross-entropy there are no sets.
            sets = [cell["anatomy"]["sets"].get(f"D_x_{name}") for cell in cells]
            curves[f"{measure}_{name}"] = [[of[measure][-1] if of else np.nan] for of in sets]
    return MethodSummary(
        method,
        tuple(cell["seed"] for cell in cells),
        {name: np.array(values, dtype=float) for name, values in curves.items()},
        tuple(cell["noise"]["realised_rate"] for cell in cells),
    )


def table(comparison, name, names):
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
        lines.append(f"| {' '.join([names[words[0]], *words[1:]])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(values):
    """Mean and deviation over the seeds, in per cent."""
    if None in values:
        return ""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
