"""The commands `lifeq-jax export` and `lifeq-jax predict`: parse, call one function, print what it returns."""

import argparse
import csv
import sys
from pathlib import Path

from lifeq_jax.cli_errors import start_jax
from lifeq_jax.cli_parser import add_command


def add_export(commands) -> None:
    """Adds `export`."""
    text = "write a stage's network as integers: packed, ONNX, C; each compared with the trained one"
    export = add_command(commands, "export", _export, text)
    export.add_argument("run", type=Path, help="run folder")
    export.add_argument("--stage", help="stage of the chain (default: the last)")
    export.add_argument(
        "--after-task", type=int, help="the network of the end of this task, from 0, where the recipe has keep='task'"
    )
    export.add_argument(
        "--task", type=int, help="compare on the images of this task alone; needed by --check where tasks differ"
    )
    export.add_argument(
        "--out", type=Path, help="folder of the files (default: RUN/export/STAGE, or RUN/export/STAGE_taskN)"
    )
    export.add_argument(
        "--formats", metavar="packed,onnx,int8,c", help="files to write; packed always is (default: all that can be)"
    )
    export.add_argument(
        "--check", type=Path, metavar="CSV", help="images to compare on (default: the run's test images)"
    )


def _export(options: argparse.Namespace) -> None:
    start_jax()
    from lifeq_jax.api.export import export

    formats = None if options.formats is None else options.formats.split(",")
    how = dict(
        stage=options.stage, after_task=options.after_task, formats=formats, check=options.check, task=options.task
    )
    found = export(options.run, options.out, **how)
    for note in found.notes:
        print(f"note: {note}")
    print(found.report)
    print(f"\nexport: {found.folder}")


def add_predict(commands) -> None:
    """Adds `predict`."""
    predict = add_command(commands, "predict", _predict, "the classes of image files, by an exported network")
    predict.add_argument("export", type=Path, help="folder that `lifeq-jax export` has written")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="image files of any size")
    predict.add_argument("--task", type=int, help="task of the images, where a network's tasks differ")
    predict.add_argument("--top", type=int, default=3, help="classes to name for each image")
    predict.add_argument("--runtime", default="numpy", help="numpy, onnx, or c, which is compiled first")
    predict.add_argument("--csv", action="store_true", help="print CSV: image,rank,class,probability")


def _predict(options: argparse.Namespace) -> None:
    from lifeq_jax.export.predict import predict

    found = predict(options.export, options.images, task=options.task, top=options.top, runtime=options.runtime)
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("image", "rank", "class", "probability"))
        for row in found:
            for rank, guess in enumerate(row, start=1):
                writer.writerow((guess.image, rank, guess.name, f"{guess.probability:.6f}"))
        return
    for row in found:
        print(f"{row[0].image}: " + ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in row))
