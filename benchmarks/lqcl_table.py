"""The tables of the benchmark lqcl, from the files of its rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.lqcl_data import SEQUENCES
from benchmarks.lqcl_rows import ABLATION, BOUNDS, COMBINED, REFERENCE, ROWS
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.metrics.continual import mean_and_std
from lifeq_jax.report.plots import save
from lifeq_jax.report.style import BLUE, GREEN, RED, Cue, draw_seeds
from lifeq_jax.report.tables import per_cent, with_spread

Numbers = Sequence[Mapping[str, Any]]  # of the runs of a row
HEAD = (
    "row",
    "n",
    "average accuracy",
    "minus replay",
    "chosen minus it",
    "forgetting",
    "few-shot classes",
    "bytes",
    "seconds",
    "settings",
)
NOTE = (
    "Test images, per cent, mean ± sample standard deviation over n seeds, rows sorted by their mean. `minus replay`: "
    f"the average accuracy minus that of the row `{REFERENCE}` with the same seed. `chosen minus it`: the average "
    "accuracy of the row that the validation images choose for the sequence, bounds aside, minus that of this row with "
    "the same seed. Few-shot classes: those that have "
    "fewer than half as many images in the last task's training data, replay included, as the largest. Bytes: weights "
    "at their bits, all else as float32. Seconds: of a seed; the seeds of a row share a program and its compilation. "
    "Settings: found on validation images; [docs/benchmark.md](../../docs/benchmark.md) has the protocol."
)
WHOLE = "lsq_ball"  # the combination that is taken apart
OVERALL = (
    "Average accuracy of the best trial of each search, per cent, one seed. By this, and not by the test images below, "
    "a combination is chosen for all sequences."
)
ABLATED = (
    f"Average accuracy on test images minus that of `{WHOLE}` with the same seed, points, mean ± sample standard "
    "deviation: without one of its two parts, with another in the place of one, or with one more."
)


def tables(out: Path) -> str:
    """All tables as Markdown, one over all sequences and one for each and bit-width, also written to
    `out`/README.md."""
    found = {sequence: _read(out / sequence) for sequence in SEQUENCES}
    parts = [
        "# lqcl",
        NOTE,
        cost([row for known in found.values() for row in known.values()]),
        "## All sequences, 4 bits, validation",
        OVERALL,
        overall({n: k for n, k in found.items() if k}),
        "## Ablation, 4 bits",
        ABLATED,
        ablation(found),
    ]
    for sequence, known in found.items():
        for bits in sorted({run["bits"] for row in known.values() for run in row["runs"]}, reverse=True):
            picture = draw(known, bits, f"{sequence}, {bits} bits")
            path = save(picture, out / sequence / f"{bits}bit.png") if picture else None
            parts += [f"## {sequence}, {bits} bits", table(known, bits)]
            parts += [f"![average accuracy minus replay, same seed]({path.relative_to(out)})"] if path else []
    parts += ["Pictures: small points are seeds. Green diamonds: bounds. Red: combinations of several parts."]
    parts += ["## Rows", "\n".join(f"- `{name}`: {row.says}" for name, row in ROWS.items())]
    text = "\n\n".join(parts) + "\n"
    write_whole(out / "README.md", text)
    return text


def _read(folder: Path) -> dict[str, Any]:
    return {row: json.loads(file.read_text()) for row in ROWS if (file := folder / f"{row}.json").exists()}


def overall(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The table of {sequence: {row: content of its file}}: what the best trial of each row's search reached on
    validation images, and the mean of the rows that were searched on all sequences."""
    lines = []
    for row in ROWS:
        best = [_best_trial(known[row]) if row in known else None for known in found.values()]
        reached = [value for value in best if value is not None]
        if reached:
            mean = float(np.mean(reached)) if len(reached) == len(best) else None
            lines.append((row, mean, [row, *(per_cent(value) if value is not None else "" for value in [*best, mean])]))
    lines.sort(key=lambda line: -1.0 if line[1] is None else line[1], reverse=True)
    return markdown_table(("row", *found, "mean"), [cells for _, _, cells in lines])


def ablation(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The table of {sequence: {row: content of its file}}: what rows differ by from WHOLE, at 4 bits."""

    def of(known: Mapping[str, Mapping[str, Any]], row: str) -> Numbers:
        return _of(known[row]["runs"], 4) if row in known else []

    rows = ("lsq", "ball", *ABLATION)
    lines = [[row, *(_difference(of(known, row), of(known, WHOLE)) for known in found.values())] for row in rows]
    return markdown_table(("row", *found), lines)


def cost(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the runs of the rows, each the content of its file, took in all, and about what their searches take."""
    measured = [(row, done) for row in rows if (done := [run for run in row["runs"] if run["status"] == "finished"])]
    runs = [run["seconds"] for _, done in measured for run in done]
    trials = sum(len(row["search"]["trials"]) for row, _ in measured)
    searches = sum(
        len(row["search"]["trials"]) * float(np.mean([r["seconds"] for r in done])) for row, done in measured
    )
    return (
        f"The {len(runs)} runs below took {sum(runs) / 3600:.1f} hours of one core, beside other work. The {trials} "
        f"trials of the searches would take {searches / 3600:.1f} more if each took as long as a run of its row; they "
        "train on a fifth fewer images. Two processes, one a core, halve both."
    )


def _best_trial(content: Mapping[str, Any]) -> float:
    return max(trial["average_accuracy"] for trial in content["search"]["trials"] if "average_accuracy" in trial)


def table(known: Mapping[str, Mapping[str, Any]], bits: int) -> str:
    """The table of a sequence from {row: content of its file}."""
    runs = {row: _of(content["runs"], bits) for row, content in known.items()}
    chosen = max((row for row in known if row not in BOUNDS), key=lambda row: _best_trial(known[row]))
    lines = []
    for row, own in sorted(runs.items(), key=lambda pair: -_mean(pair[1])):
        if own:
            few = [run["few_shot"] for run in own if run["few_shot"] is not None]
            lines.append(
                [
                    row,
                    str(len(own)),
                    _spread(own, "average_accuracy"),
                    _difference(own, runs.get(REFERENCE, [])) if row != REFERENCE else "",
                    _difference(runs[chosen], own) if row != chosen else "",
                    _spread(own, "forgetting"),
                    per_cent(*mean_and_std(few)) if few else "",
                    str(own[0]["bytes"]),
                    with_spread(mean_and_std([run["seconds"] for run in own])[0], digits=0),
                    _settings(known[row]["search"]["values"]),
                ]
            )
    lost = [f"- {row}: {run['seed']}, {run['status']}" for row in known for run in _lost(known[row]["runs"], bits)]
    says = f"Chosen by validation images: `{chosen}`."
    return "\n\n".join([says, markdown_table(HEAD, lines), *(["Not finished:\n\n" + "\n".join(lost)] if lost else [])])


def draw(known: Mapping[str, Mapping[str, Any]], bits: int, title: str) -> Figure | None:
    """The paired differences to the reference, a line for each row; None where the reference has no run."""
    runs = {row: _of(content["runs"], bits) for row, content in known.items()}
    reference = runs.get(REFERENCE, [])
    rows = [row for row in sorted(runs, key=lambda row: _mean(runs[row])) if runs[row] and row != REFERENCE]
    if not reference or not rows:
        return None
    figure = Figure(figsize=(7, 1.2 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        found = [100 * difference for difference in _paired(runs[row], reference)]
        cue = Cue(GREEN if row in BOUNDS else RED if row in COMBINED else BLUE, "D" if row in BOUNDS else "o")
        draw_seeds(axes, found, place, cue, upright=False)
    axes.axvline(0, color="0.5", lw=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="average accuracy minus that of fine-tuning with replay, same seed, points", title=title)
    axes.grid(axis="x", color="0.9")
    return figure


def _of(runs: Numbers, bits: int) -> Numbers:
    return [run for run in runs if run["bits"] == bits and run["status"] == "finished"]


def _lost(runs: Numbers, bits: int) -> Numbers:
    return [run for run in runs if run["bits"] == bits and run["status"] != "finished"]


def _paired(runs: Numbers, others: Numbers) -> list[float]:
    """Average accuracies of runs minus those of others with the same seed."""
    of_seed = {run["seed"]: run["average_accuracy"] for run in others}
    return [run["average_accuracy"] - of_seed[run["seed"]] for run in runs if run["seed"] in of_seed]


def _difference(runs: Numbers, others: Numbers) -> str:
    paired = _paired(runs, others)
    return per_cent(*mean_and_std(paired)) if paired else ""


def _mean(runs: Numbers) -> float:
    return mean_and_std([run["average_accuracy"] for run in runs])[0] if runs else -1.0


def _spread(runs: Numbers, metric: str) -> str:
    return per_cent(*mean_and_std([run[metric] for run in runs]))


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.removeprefix('stages.-1.')} {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        args = ", ".join(f"{name}={one}" for name, one in value["args"].items())
        return f"{value['name']}({args})" if args else value["name"]
    return f"{value:.2g}" if isinstance(value, float) else str(value)
