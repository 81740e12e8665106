"""Train methods in settings of noise with several seeds, keep each as a small file, and tabulate.

    python benchmarks/claim --data e20.npz --settings sym50,asym40 --methods ce,dividemix,vrlvmix \
        --seeds 3 --jobs 2 --minutes 60
    python benchmarks/claim --table docs/claim-tables.md
    python benchmarks/claim --plots docs

What a cell's file is there for is not trained again. README.md, beside this file, says more.
"""

import argparse
import sys
from pathlib import Path

from grid import EPOCHS, IMAGE_EPOCHS, SETTINGS, Regime, cells
from plots import write_plots
from readings import METHODS
from runner import run
from tables import read_cells, tables

FOLDER = Path(__file__).parent / "cells"


def main(arguments=None):
    options = parsed(arguments)
    failed = []
    if trains(options):
        regime = Regime(
            data=options.data or "cifar10",
            data_dir=options.data_dir,
            human_file=options.human_file,
            images=options.images,
            network=options.network,
            epochs=options.epochs or (IMAGE_EPOCHS if options.images else EPOCHS),
            subset=options.subset,
            augment=options.images if options.augment is None else options.augment,
            device=options.device,
        )
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        grid = cells(regime, options.settings or ["sym50"], options.methods, seeds)
        failed = run(grid, options.cells, options.runs, options.jobs, options.minutes)
    found = read_cells(options.cells)
    if options.settings and not trains(options):
        found = [cell for cell in found if cell["setting"] in options.settings]
    if options.plots is not None:
        for path in write_plots(found, options.plots):
            print(path)
    if options.table not in (None, "-"):
        Path(options.table).write_text(tables(found))
    elif options.table == "-" or trains(options):
        sys.stdout.write(tables(found))
    return 1 if failed else 0


def parsed(arguments):
    parser = argparse.ArgumentParser(
        prog="python benchmarks/claim",
        description=__doc__.splitlines()[0],
        epilog=f"Settings: {', '.join(SETTINGS)}. Methods: {', '.join(METHODS)}.",
    )
    parser.add_argument("--data", help="as load_data takes it: digits, or a file of features")
    parser.add_argument("--data-dir", help="folder of cifar10 and cifar100")
    parser.add_argument("--human-file", help="human labels, if not beside the images")
    parser.add_argument(
        "--settings", type=names_of(SETTINGS), help="sym50; with --table or --plots all"
    )
    parser.add_argument("--methods", type=names_of(METHODS), default=["ce", "dividemix", "vrlvmix"])
    parser.add_argument("--seeds", type=int, default=3, help="how many; default 3")
    parser.add_argument("--first-seed", type=int, default=0, help="10 and more: for choosing")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread at once")
    parser.add_argument(
        "--minutes", type=float, help="then stop, and leave the rest to the next call"
    )
    parser.add_argument(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="random views, crops, mirroring; by default with --images",
    )
    parser.add_argument("--subset", type=int, help="training samples, by default all")
    parser.add_argument("--epochs", type=int, help=f"{EPOCHS}, or with --images {IMAGE_EPOCHS}")
    parser.add_argument("--images", action="store_true", help="train on images: CIFAR-10 or --data")
    parser.add_argument("--network", default="auto", help="such as preact-resnet18")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cells", type=Path, default=FOLDER, help="folder of finished cells")
    parser.add_argument("--runs", type=Path, default=Path("runs/claim"), help="of unfinished ones")
    parser.add_argument(
        "--table", nargs="?", const="-", metavar="FILE", help="train nothing; print, or write FILE"
    )
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="train nothing; write figures into FOLDER"
    )
    options = parser.parse_args(arguments)
    if trains(options) and options.data is None and not options.images:
        parser.error(
            "--data or --images must say what to train on, or --table or --plots to train nothing"
        )
    return options


def trains(options):
    return options.table is None and options.plots is None


def names_of(known):
    """Return what reads names out of a list with commas, or "all" of them."""

    def names(text):
        if text == "all":
            return list(known)
        given = text.split(",")
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(known)}, or all; got {unknown[0]!r}"
            )
        return given

    return names


if __name__ == "__main__":
    sys.exit(main())
