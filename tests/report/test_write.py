"""The report as a whole: every plot it names is there, every group has its section."""

import dataclasses
import re

import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.runs import read_run
from lifeq_jax.report.tables import MEANINGS
from lifeq_jax.report.write import write_report
from tests.report.folders import MATRIX, SIZES, add_classes, add_layers, add_oscillation, recipe, rewrite, write_run


def text_of(path):
    """A report without what keeps the columns of its tables in line."""
    return re.sub(" +", " ", path.read_text())


def images_of(path):
    return re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text_of(path))


def test_one_run(tmp_path):
    path = write_report([read_run(write_run(tmp_path / "run"))], tmp_path / "deep" / "report")
    assert path == tmp_path / "deep" / "report" / "report.md"
    assert sorted(images_of(path)) == ["forgetting.png", "matrix.png", "training.png"]
    text = text_of(path)
    assert text.startswith("# digits\n") and "| average_accuracy | 68.33 |" in text
    assert "1/(T-1) sum_{j < T-1} (A[T-1, j] - A[j, j])" in text


def test_several_runs(tmp_path):
    halved = [[value / 2 for value in row] for row in MATRIX]
    configs = [(recipe(), halved), (recipe(seed=1), MATRIX), (recipe(method="ewc"), MATRIX)]
    runs = [read_run(write_run(tmp_path / str(i), *config)) for i, config in enumerate(configs)]
    path = write_report(runs, tmp_path / "report")
    images = images_of(path)
    assert images[0] == "comparison.png" and len(images) == 7
    assert all((path.parent / image).stat().st_size > 5000 for image in images)
    headings = re.findall(r"^#.*$", text_of(path), flags=re.MULTILINE)
    assert headings == ["# 2 recipes", "## digits (method=ewc)", "## digits (method=finetune)", "## Formulas"]


def test_seeds_alone_need_no_comparison(tmp_path):
    runs = [read_run(write_run(tmp_path / str(seed), recipe(seed=seed))) for seed in range(3)]
    path = write_report(runs, tmp_path / "report")
    assert "| average_accuracy | 68.33 | 68.33 | 68.33 | 68.33 ± 0.00 |" in text_of(path)
    assert "mean over 3 seeds" in text_of(path) and "comparison.png" not in images_of(path)


def test_written_again_it_is_the_same(tmp_path):
    runs = [read_run(write_run(tmp_path / "run"))]
    first = write_report(runs, tmp_path / "report").read_bytes()
    assert write_report(runs, tmp_path / "report").read_bytes() == first


def test_one_task_has_no_forgetting(tmp_path):
    run = read_run(write_run(tmp_path / "run", recipe(tasks=1), [[0.75]]))
    path = write_report([run], tmp_path / "report")
    assert sorted(images_of(path)) == ["matrix.png", "training.png"]
    assert "| average_accuracy | 75.00 |" in text_of(path)
    assert not re.search("forgetting|bwt", text_of(path))


def test_several_recipes_of_one_task(tmp_path):
    configs = [recipe(name, tasks=1) for name in "ab"]
    runs = [read_run(write_run(tmp_path / config.name, config, [[0.75]])) for config in configs]
    path = write_report(runs, tmp_path / "report")
    assert "comparison.png" in images_of(path)
    assert not re.search("forgetting|bwt", text_of(path))


def test_a_tracked_run(tmp_path):
    config = dataclasses.replace(recipe(), oscillation=Part("freeze"), reestimation_batches=50)
    path = write_report([read_run(add_oscillation(write_run(tmp_path / "run", config)))], tmp_path / "report")
    assert {"oscillation.png", "weight_distance.png"} < set(images_of(path))
    assert all((path.parent / image).stat().st_size > 5000 for image in images_of(path))
    text = text_of(path)
    assert "before and after batch-norm re-estimation over 50 training batches" in text
    assert "| four | 2 | 51.25 | 68.33 | 17.08 |" in text


def test_shares_alone_are_drawn_alone(tmp_path):
    folder = add_oscillation(write_run(tmp_path / "run"))
    (folder / "weight_distance.csv").unlink()
    rewrite(folder / "metrics.csv", lambda row: {k: v for k, v in row.items() if not k.startswith("running_")})
    path = write_report([read_run(folder)], tmp_path / "report")
    assert "oscillation.png" in images_of(path) and "weight_distance.png" not in images_of(path)
    assert "re-estimation" not in text_of(path)


def test_layers_of_each_group_are_drawn(tmp_path):
    folders = [write_run(tmp_path / "a"), *(add_layers(write_run(tmp_path / name, recipe(name))) for name in "bc")]
    path = write_report([read_run(folder) for folder in folders], tmp_path / "report")
    drawn = [image for image in images_of(path) if image.endswith("layers.png")]
    assert drawn == ["2_layers.png", "3_layers.png"]
    assert all((path.parent / image).stat().st_size > 5000 for image in drawn)
    text = text_of(path)
    assert text.count("Capacity used, the share of all bits that are frozen, and dead units, in per cent.\n") == 2
    assert text.count("| 0 | 7.14 | 60.00 |\n| 1 | 16.43 | 40.00 |\n| 2 | 30.00 | 20.00 |\n") == 2


def test_seeds_without_a_common_layer_have_no_plot_of_layers(tmp_path):
    folders = [add_layers(write_run(tmp_path / str(seed), recipe(seed=seed))) for seed in range(2)]
    rewrite(folders[1] / "layers.csv", lambda row: row | {"layer": f"net/{row['layer']}"})
    path = write_report([read_run(folder) for folder in folders], tmp_path / "report")
    assert "| 2 | 30.00 ± 0.00 | 20.00 ± 0.00 |" in text_of(path) and "layers.png" not in images_of(path)


def test_the_comparison_says_what_its_columns_mean(tmp_path):
    folders = [write_run(tmp_path / "a"), add_layers(add_oscillation(write_run(tmp_path / "b", recipe("b"))))]
    text = text_of(write_report([read_run(folder) for folder in folders], tmp_path / "report"))
    for name, meaning in MEANINGS.items():
        assert f"- {name}: {meaning}" in text


def test_classes_of_different_sizes(tmp_path):
    runs = [read_run(add_classes(write_run(tmp_path / name, recipe(name)))) for name in "ab"]
    path = write_report(runs, tmp_path / "report", many=299, few=51)
    assert images_of(path).count("classes.png") == 1 and (path.parent / "classes.png").stat().st_size > 5000
    text = text_of(path)
    assert "- many: mean over the classes with more than 299 training images\n" in text
    assert "- medium: mean over the classes with 51 to 299 training images\n" in text
    assert "| a | 1 | 55.83 | 55.83 | 96.67 | 66.67 | 30.00 |" in text
    assert text.index("## b\n") < text.index("## Classes\n") < text.index("## Formulas\n")


def test_classes_of_one_size_are_not_drawn(tmp_path):
    sizes = dict.fromkeys(SIZES, (50,) * 4)
    path = write_report([read_run(add_classes(write_run(tmp_path / "run"), sizes=sizes))], tmp_path / "report")
    assert "classes.png" not in images_of(path)
    assert "| digits | 1 | 55.83 | 55.83 |\n" in text_of(path) and "- few:" not in text_of(path)


def test_refuses_bounds_that_overlap(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    with pytest.raises(Refusal, match="many=10 and few=20 do not bound groups"):
        write_report([run], tmp_path / "report", many=10)
    assert not (tmp_path / "report").exists()


def test_refuses_a_folder_that_cannot_be_written(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match=r"report folder .*file/report cannot be written: Not a directory"):
        write_report([run], tmp_path / "file" / "report")


def test_refuses_no_runs(tmp_path):
    with pytest.raises(Refusal, match="no run folder was given"):
        write_report([], tmp_path / "report")
    assert not (tmp_path / "report").exists()
