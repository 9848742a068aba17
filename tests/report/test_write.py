"""The report as a whole: every plot it names is there, every group has its section."""

import base64
import dataclasses
import re
from html.parser import HTMLParser

import pytest

from lifeq_jax.cli import main
from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.tables import MEANINGS
from lifeq_jax.report.write import write_report
from lifeq_jax.runs.columns import LAYERS
from lifeq_jax.runs.folder import write_diverged
from lifeq_jax.runs.read import read_run
from tests.report.test_groups import WORSE, on_validation
from tests.runs.folders import SIZES, make_run, recipe, rewrite


def text_of(path):
    """A report without what keeps the columns of its tables in line."""
    return re.sub(" +", " ", path.read_text())


@pytest.fixture
def report(tmp_path):
    """report((recipe, arguments of make_run), ..., arguments of write_report) -> text, names of the pictures."""

    def report(*given, **options):
        runs = [read_run(make_run(tmp_path / str(n), *config, **args)) for n, (*config, args) in enumerate(given)]
        path = write_report(runs, tmp_path / "deep" / "report", **options)
        assert path == tmp_path / "deep" / "report" / "report.md"
        images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text_of(path))
        assert all((path.parent / image).stat().st_size > 5000 for image in images)
        assert {image.name for image in path.parent.glob("*.png")} == set(images) and len(set(images)) == len(images)
        return text_of(path), images

    return report


DRAWN = ("matrix", "forgetting", "training", "confusion", "bits")
LAST = ["## Classes", "## Costs", "## Formulas"]


def headings(text):
    return re.findall(r"^#.*$", text, flags=re.MULTILINE)


def test_one_run(report):
    text, images = report((recipe(), {}))
    assert images == [f"{name}.png" for name in DRAWN]
    assert headings(text) == ["# digits", *LAST]
    assert "| digits | 1 | 62 | 150 | 2.5 | 250 | 1,000 | 1.2 | 31% |\n" in text
    assert "| stem | 8 | 4 | 12 | 0.01 |\n" in text
    assert "| average_accuracy | 68.33 |" in text and "| after task 3 | 50.00 | 85.00 | 70.00 |" in text
    assert "1/(T-1) sum_{j < T} (A[T, j] - A[j, j])" in text and "tasks count from 1 to T" in text
    assert "| digits | 1 | 55.83 | 55.83 |\n" in text and "- few:" not in text
    assert "left out" not in text


def test_written_again_it_is_the_same(tmp_path):
    run = read_run(make_run(tmp_path / "run", recipe(tasks=1), [[0.75]]))
    first = write_report([run], tmp_path / "report").read_bytes()
    assert write_report([run], tmp_path / "report").read_bytes() == first


def test_seeds_alone_need_no_comparison(report):
    text, images = report(*((recipe(seed=seed), {}) for seed in range(3)))
    assert "| average_accuracy | 68.33 | 68.33 | 68.33 | 68.33 ± 0.00 |" in text
    assert "mean over 3 seeds" in text and images == [f"{name}.png" for name in DRAWN]


def test_several_recipes(report):
    text, images = report((recipe(), WORSE, {}), (recipe(seed=1), {}), (recipe(method="ewc"), {}))
    sections = ["digits (method=ewc)", "digits (method=finetune)"]
    assert headings(text) == ["# 2 recipes", *(f"## {name}" for name in sections), *LAST]
    assert images == ["comparison_test.png", "tradeoff_test.png"] + [
        f"digits-method={m}_{d}.png" for m in ("ewc", "finetune") for d in DRAWN
    ]


def test_test_and_validation_have_rankings_of_their_own(report):
    text, images = report((recipe("b"), WORSE, {}), (on_validation(recipe("a")), {}), (recipe("c"), {}))
    assert [name for name in images if "comp" in name] == ["comparison_test.png", "comparison_validation.png"]
    assert headings(text)[:4] == ["# 3 recipes", "## c", "## b", "## a on validation images"]
    on_test, on_val = text.split("Measured on validation images:")
    assert on_test.index("| c |") < on_test.index("| b |") and "| a on" not in on_test
    rows = on_val.split("## c")[0]
    assert "| a on validation images | finetune | cross_entropy | 4/4 | validation |" in rows and "| c |" not in rows


@pytest.mark.parametrize("names", ["a", "ab"])
def test_one_task_has_no_forgetting(report, names):
    text, images = report(*((recipe(name, tasks=1), [[0.75]], {}) for name in names))
    assert "| average_accuracy | 75.00 |" in text and not re.search("forgetting|bwt|tradeoff", text)
    assert ("comparison_test.png" in images) == (len(names) > 1)
    assert not any("forgetting" in image for image in images)


def test_a_tracked_run(report):
    config = dataclasses.replace(recipe(), oscillation=Part("freeze"), reestimation_batches=50)
    text, images = report((config, {"lower": 0.25}))
    assert images[-2:] == ["oscillation.png", "weight_distance.png"]
    assert "before and after batch-norm re-estimation over 50 training batches" in text
    assert "| four | 3 | 51.25 | 68.33 | 17.08 |" in text


def test_layers_of_each_group_are_drawn_and_columns_explained(report):
    text, images = report((recipe("a"), {}), *((recipe(name), {"more": 0, "lower": 0.25}) for name in "bc"))
    assert [image for image in images if "layers." in image] == ["b_layers.png", "c_layers.png"]
    assert text.count("Capacity used, the share of all bits that are frozen, and dead units, in per cent.\n") == 2
    assert text.count("| 1 | 7.14 | 60.00 |\n| 2 | 16.43 | 40.00 |\n| 3 | 30.00 | 20.00 |\n") == 2
    assert all(f"- {name}: {meaning}" in text for name, meaning in MEANINGS.items())


def test_seeds_without_a_common_layer_have_no_plot_of_layers(tmp_path):
    folders = [make_run(tmp_path / str(seed), recipe(seed=seed), more=0) for seed in range(2)]
    rewrite(folders[1] / LAYERS, lambda row: row | {"layer": f"net/{row['layer']}"})
    text = text_of(write_report([read_run(folder) for folder in folders], tmp_path / "report"))
    assert "| 3 | 30.00 ± 0.00 | 20.00 ± 0.00 |" in text and "layers.png" not in text


def test_classes_of_different_sizes(report):
    text, images = report(*((recipe(name), {"sizes": SIZES}) for name in "ab"), many=299, few=51)
    assert images.count("classes.png") == 1
    assert "- many: mean over the classes with more than 299 training images\n" in text
    assert "- medium: mean over the classes with 51 to 299 training images\n" in text
    assert "| a | 1 | 55.83 | 55.83 | 96.67 | 66.67 | 30.00 |" in text


def test_a_run_that_is_not_finished_is_listed_and_the_rest_reported(tmp_path, capsys):
    for seed in range(3):
        make_run(tmp_path / "runs" / f"seed{seed}", recipe(seed=seed), finished=seed == 1)
    write_diverged(tmp_path / "runs" / "seed0", "the loss is not finite")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    printed, text = capsys.readouterr().out, text_of(tmp_path / "out" / "report.md")
    for seed, status in ((0, "diverged: the loss is not finite"), (2, "unfinished")):
        folder = tmp_path / "runs" / f"seed{seed}"
        assert f"not finished, and left out: {folder} ({status})\n" in printed and f"- `{folder}`: {status}\n" in text
    assert headings(text)[0] == "# digits" and "- seeds: 1\n" in text
    assert main(["report", str(tmp_path / "runs" / "seed2")]) == 2
    assert capsys.readouterr().err == f"lifeq-jax: no run is finished: {tmp_path}/runs/seed2 (unfinished)\n"


class Links(HTMLParser):
    """What a page loads from elsewhere, its pictures and its tables."""

    def __init__(self):
        super().__init__()
        self.loaded, self.pictures, self.tables = [], [], 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tables += tag == "table"
        if tag == "img":
            self.pictures.append(found)
        self.loaded += [
            found[name] for name in ("src", "href") if name in found and found[name][:5] not in ("data:", "")
        ]
        self.loaded += [tag] * (tag in ("script", "link", "iframe"))


def test_the_page_holds_everything_itself(report, tmp_path):
    text, images = report((recipe(name="<b> & c"), {}), (recipe(name="other"), {}))
    page = (tmp_path / "deep" / "report" / "report.html").read_text()
    parser = Links()
    parser.feed(page)
    assert len(parser.pictures) == len(images) and parser.tables == text.count("|\n| --")
    assert parser.loaded and all(re.fullmatch("#[a-z0-9_-]+", link) for link in parser.loaded)
    assert all(f'id="{link[1:]}"' in page for link in parser.loaded)
    for picture, name in zip(parser.pictures, images, strict=True):
        content = (tmp_path / "deep" / "report" / name).read_bytes()
        assert base64.b64decode(picture["src"].partition(",")[2]) == content and picture["alt"] in text
    assert "&lt;b&gt; &amp; c" in page and "<b>" not in page and "url(" not in page and "@import" not in page


def test_refusals(tmp_path):
    run, out = read_run(make_run(tmp_path / "run")), tmp_path / "report"
    with pytest.raises(Refusal, match="many=10 and few=20 do not bound groups"):
        write_report([run], out, many=10)
    with pytest.raises(Refusal, match="no run folder was given"):
        write_report([], out)
    assert not out.exists()
    out.write_text("")
    with pytest.raises(Refusal, match=r"report folder .*report/deep cannot be written: Not a directory"):
        write_report([run], out / "deep")
