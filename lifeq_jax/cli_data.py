"""The commands `lifeq-jax data ...`: parse, call one function, print what it returns."""

import argparse
from pathlib import Path

from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.refusal import Refusal


def add_data(data: argparse.ArgumentParser) -> None:
    """Adds the steps of `lifeq-jax data`."""
    commands = data.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare = add_command(
        commands, "prepare", _prepare, "write or check the image folders <root>/<split>/<class>/<file>"
    )
    prepare.add_argument("--root", type=Path, required=True, help="folder of the images")
    prepare.add_argument(
        "--source",
        help="digits (the default; comes with scikit-learn), folder, or a name of TensorFlow Datasets",
    )
    prepare.add_argument("--download", action="store_true", help="allow the source to be downloaded")
    prepare.add_argument(
        "--from", dest="source_folder", type=Path, help="tree of images to copy, of any format that Pillow reads"
    )
    prepare.add_argument("--size", type=int, help="side of the written images (short side resized, center crop)")
    prepare.add_argument("--canvas", type=int, help="side to which black pixels around the written images bring them")
    prepare.add_argument(
        "--test-share", type=float, help="share of each class for a test split where there is none, 0 to 1"
    )
    prepare.add_argument("--seed", type=int, default=0, help="of the train/test split")

    lifelong = add_command(commands, "lifelong", _lifelong, "write <csv>_train{i}.csv and <csv>_test{i}.csv")
    _add_csv(lifelong)
    lifelong.add_argument("--root", type=Path, required=True, help="folder of the images")
    lifelong.add_argument(
        "--diminish-rate", type=float, help="share of the classes replaced with each task: 0.25 or 25"
    )
    lifelong.add_argument("--domains", nargs="+", help="instead: one task for each of these leading folders")
    lifelong.add_argument("--seed", type=int, default=123, help="of the order of the classes")

    _add_sequence(commands)
    _add_longtail(commands)

    replay = add_command(
        commands, "replay", _replay, "write <csv>_replay{i}.csv, a sample of each task's training rows"
    )
    _add_csv(replay)
    replay.add_argument("--rate", type=float, default=0.2, help="share of the rows: 0.2 or 20")
    replay.add_argument("--seed", type=int, default=123, help="of the sample")

    count = add_command(commands, "count", _count, "write reweight_{i}.json: class counts and weights of each task")
    _add_csv(count)

    inspect = add_command(commands, "inspect", _inspect, "print what a set of task files holds")
    inspect.add_argument(
        "--csv", type=Path, required=True, help="what the files' names begin with, or a single train CSV"
    )
    inspect.add_argument(
        "--root", type=Path, help="folder of the images; given, all are read, and compared by content instead of path"
    )
    inspect.add_argument(
        "--strict", action="store_true", help="exit with 1 on leaks, contradictions, duplicates and copies of tasks"
    )


def _add_sequence(commands) -> None:
    text = "write <csv>_train{i}.csv and <csv>_test{i}.csv of a task sequence of BLIP"
    sequence = add_command(commands, "sequence", _sequence, text)
    sequence.add_argument(
        "name",
        help="mnist2, mnist5, pmnist, cifar10_pairs, cifar_alternating, five_datasets or mini_imagenet",
    )
    sequence.add_argument("--root", type=Path, required=True, help="folder of the images, or of the data sets' folders")
    sequence.add_argument("--csv", type=Path, required=True, help="what the new files' names begin with")
    sequence.add_argument("--tasks", type=int, help="for mini_imagenet: tasks in the sequence, 20 where not given")
    sequence.add_argument(
        "--seed", type=int, default=0, help="of the order of tasks or classes, where the sequence shuffles them"
    )


def _add_longtail(commands) -> None:
    text = "write <csv>_train{gamma}.csv, whose classes fall off from many images to few, and <csv>_test.csv"
    longtail = add_command(commands, "longtail", _longtail, text)
    longtail.add_argument("--csv", type=Path, required=True, help="what the new files' names begin with")
    longtail.add_argument("--gamma", type=float, required=True, help="largest class over the smallest, 1 or more")
    longtail.add_argument("--root", type=Path, help="source: folder of the images, <root>/<split>/<class>/<file>")
    longtail.add_argument(
        "--from", dest="source", type=Path, help="source instead: a train CSV, or, with --tasks, a prefix of task files"
    )
    longtail.add_argument(
        "--tasks", type=int, help="tasks of the sequence --from; writes <csv>_train{i}.csv, each with a long tail"
    )
    longtail.add_argument(
        "--scheme",
        default="exponential",
        help="class sizes. exponential: n_0 gamma^(-i/(K-1)), at least 1 image; truncated: ClimbQ's, which may reach 0",
    )
    longtail.add_argument("--seed", type=int, default=0, help="of the draw of images; 0 draws as ClimbQ does")


def _add_csv(command: argparse.ArgumentParser) -> None:
    command.add_argument("--csv", type=Path, required=True, help="what the files' names begin with")
    command.add_argument("--tasks", type=int, required=True, help="tasks in the sequence")


def _prepare(options: argparse.Namespace) -> None:
    from lifeq_jax.data.prepare import prepare

    print(
        prepare(
            options.root,
            options.source or ("folder" if options.source_folder else "digits"),
            download=options.download,
            seed=options.seed,
            size=options.size,
            canvas=options.canvas,
            test_fraction=options.test_share,
            source_folder=options.source_folder,
        )
    )


def _lifelong(options: argparse.Namespace) -> None:
    from lifeq_jax.data.lifelong import make_domains, make_lifelong

    rate = options.diminish_rate
    if rate is None and options.tasks == 1 and not options.domains:
        rate = 1.0  # a single task has all classes for any rate
    if (options.domains is None) == (rate is None):
        raise Refusal("lifeq-jax data lifelong: give either --diminish-rate or --domains")
    if options.domains:
        if len(options.domains) != options.tasks:
            raise Refusal(f"--tasks={options.tasks} but --domains names {len(options.domains)}: {options.domains}")
        made = make_domains(options.root, options.csv, domains=options.domains, seed=options.seed)
    else:
        made = make_lifelong(options.root, options.csv, num_tasks=options.tasks, diminish_rate=rate, seed=options.seed)
    _print_tasks(made)


def _sequence(options: argparse.Namespace) -> None:
    from lifeq_jax.data.sequences import make_sequence

    _print_tasks(make_sequence(options.name, options.root, options.csv, num_tasks=options.tasks, seed=options.seed))


def _print_tasks(made) -> None:
    for split, images in made.images.items():
        print(f"{made.prefix}_{split}*.csv: {len(images)} tasks with {', '.join(map(str, images))} images")
    for note in made.notes:
        print(note)


def _longtail(options: argparse.Namespace) -> None:
    from lifeq_jax.data.long_tail import long_tail_of_csv, long_tail_of_folders, long_tail_of_tasks

    if (options.root is None) == (options.source is None):
        raise Refusal("lifeq-jax data longtail: give either --root or --from")
    if options.tasks is not None and options.source is None:
        raise Refusal("lifeq-jax data longtail: --tasks needs --from, the prefix that `data lifelong` has written")
    how = {"gamma": options.gamma, "scheme": options.scheme, "seed": options.seed}
    if options.root is not None:
        made = long_tail_of_folders(options.root, options.csv, **how)
    elif options.tasks is not None:
        made = long_tail_of_tasks(options.source, options.csv, num_tasks=options.tasks, **how)
    else:
        made = long_tail_of_csv(options.source, options.csv, **how)
    for train, test, sizes, images in zip(made.trains, made.tests, made.sizes, made.test_images, strict=True):
        largest, smallest = sizes[0], sizes[sizes > 0][-1]
        empty = f", {sum(sizes == 0)} classes without any" if smallest != sizes[-1] else ""
        span = f"{largest} to {smallest} a class, imbalance {largest / smallest:.1f}{empty}"
        print(f"{train}: {sum(sizes)} images of {len(sizes)} classes, {span}")
        print(f"{test}: {images} images")
    for note in made.notes:
        print(note)


def _replay(options: argparse.Namespace) -> None:
    from lifeq_jax.data.replay import make_replay

    rows = make_replay(options.csv, num_tasks=options.tasks, rate=options.rate, seed=options.seed)
    print(f"{options.csv}_replay*.csv: {', '.join(map(str, rows))} images")


def _count(options: argparse.Namespace) -> None:
    from lifeq_jax.data.class_counts import write_counts

    for path in write_counts(options.csv, options.tasks):
        print(path)


def _inspect(options: argparse.Namespace) -> None:
    from lifeq_jax.data.inspect import describe

    found = describe(options.csv, options.root)
    print(found)
    if options.strict and found.faults:
        raise SystemExit(1)
