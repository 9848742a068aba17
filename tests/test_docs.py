"""README and docs/: every command is run here, or is marked with what it needs; every link inside them leads somewhere.

A block of commands below a line `<!-- needs ... -->` is parsed, its recipe's keys and the cells of its sweep too; every
other one is run."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.api.cells import make_cells
from lifeq_jax.cli import _parser, main
from lifeq_jax.cli_keys import override
from lifeq_jax.cli_sweep import parse_grid, parse_space
from lifeq_jax.core.game_recipe import load_any
from lifeq_jax.core.recipe_file import listed_recipes
from tests.test_house import ALLOWED

PAGES = [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- needs (?P<needs>[^\n]+) -->\n)?```bash\n(?P<text>.*?)```", re.DOTALL)
SMALL = "--model.name mlp --model.args.hidden 8 --stages.0.epochs 1 --stages.1.epochs 1 --stages.2.epochs 1"


def commands(text):
    """The words of each command of a block; comments left out, continued lines joined."""
    lines = (shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


BLOCKS = [
    (page, found["needs"], commands(found["text"])) for page in PAGES for found in BLOCK.finditer(page.read_text())
]
RECIPES = {one.name for one in listed_recipes()}


def test_every_block_of_commands_is_seen():
    assert sum(page.read_text().count("```bash") for page in PAGES) == len(BLOCKS) > 10


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_that_are_not_run_are_right(page, capsys):
    for words in (words for where, needs, block in BLOCKS if where == page and needs for words in block):
        if "lifeq-jax" not in words:
            continue
        own = words[words.index("lifeq-jax") + 1 :]
        options, rest = _parser().parse_known_args(own)
        if options.takes_keys and str(options.recipe) in RECIPES and not any(".py:" in word for word in rest):
            recipe = override(load_any(options.recipe), rest)
            if own[0] == "sweep":
                make_cells(recipe, dict(parse_grid(recipe, words) for words in options.grid), options.on)
                assert all(parse_space(recipe, words)[1] for words in options.space)
        else:
            assert options.takes_keys or not rest


def test_commands_that_need_nothing_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("cat", "dog", "fish", "bird"):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(folder / f"{number}.png")
    done = []
    for words in (words for _, needs, block in BLOCKS if not needs for words in block):
        assert words[0] == "lifeq-jax", f"{shlex.join(words)} is not run; say above its block what it needs"
        if words not in done:
            given = [*words[1:], *(SMALL.split() if words[1] == "train" else [])]
            assert main(given) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
            done.append(words)
    assert {words[1] for words in done} >= {"start", "train", "report", "export", "predict"}


def test_every_make_target_that_is_named_is_one():
    targets = set(re.findall(r"^([\w-]+):", Path("Makefile").read_text(), re.MULTILINE))
    named = {}
    for page in [*PAGES, Path("CONTRIBUTING.md"), *Path("results").glob("*.md"), *Path("results").glob("*.sh")]:
        for name in re.findall(r"(?:`|^)make (?:[A-Z]+=\S+ )*([\w-]+)", page.read_text(), re.MULTILINE):
            named[name] = page
    assert {"quickstart", "test", "ablation"} <= named.keys() <= targets, named


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files(page):
    text = re.sub("```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)", text):
        made = link.startswith(("http", "reference/", "../reference/", "tutorials/", "results/index"))  # by make docs
        assert made or (page.parent / link).exists(), link


def test_the_drawing_of_the_house_has_every_room():
    drawn = re.findall(r'font-weight="bold">(\w+)<', Path("docs/house.svg").read_text())
    assert sorted(drawn) == sorted(ALLOWED)


def test_readme_is_short():
    assert len(Path("README.md").read_text().splitlines()) < 150
