"""The pages of the site that follow from the code and from results/targets.csv. `make docs` runs it."""

import ast
import csv
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

import jupytext
import mkdocs_gen_files
from latex2mathml.converter import convert

import lifeq_jax as lq
from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.recipe_file import listed_recipes, load_recipe
from lifeq_jax.layers.setups import SETUPS
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods import DISTILLATIONS, METHODS, OSCILLATIONS
from lifeq_jax.metrics import continual
from lifeq_jax.models import MODELS
from lifeq_jax.quant import QUANTIZERS

ROOT = Path(__file__).parent.parent
WIDE = "---\nhide: [toc]\n---\n"  # of a page whose tables need the room


def write(path: str, *parts: str) -> None:
    """One page of the site."""
    with mkdocs_gen_files.open(path, "w") as file:
        file.write("\n\n".join(parts) + "\n")


def as_text(doc: str | None) -> str:
    """A docstring as Markdown: sections become bold words, arguments lists, examples and formulas code."""
    lines, section = [], ""
    for line in inspect.cleandoc(doc or "").splitlines():
        if found := re.fullmatch(r"(Args|Returns|Raises|Example):", line):
            section = found[1]
            lines += ["", f"**{section}**", ""]
        elif entry := re.match(r"    (\w+): (.*)", line) if section in ("Args", "Raises") else None:
            lines.append(f"- `{entry[1]}`: {_escaped(entry[2])}")
        elif section == "Example" or (line.startswith("    ") and not section):
            lines.append(line)
        else:
            indent = "    " if section in ("Args", "Raises") else ""
            lines.append(indent + _escaped(line.strip()))
    return "\n".join(lines)


def _escaped(line: str) -> str:
    """A line whose symbols Markdown leaves alone; code stays."""
    parts = re.split("(`[^`]*`)", line)
    return "".join(part if part[:1] == "`" else re.sub(r"([*_<\[\]])", r"\\\1", part) for part in parts)


def settings(maker: Callable) -> str:
    """The arguments of a maker that a recipe can set, with their defaults."""
    parameters = inspect.signature(maker).parameters.values()
    rows = [f"`{one.name}={one.default!r}`" for one in parameters if isinstance(one.default, bool | int | float | str)]
    return "Arguments: " + (", ".join(rows) if rows else "none") + "."


def users(key: str, name: str) -> str:
    """The recipes of the package that name a row."""
    found = [f"`{place}`" for place, recipe in RECIPES.items() if name in _names(getattr(recipe, key, None))]
    return (
        f"In the recipes {', '.join(found)}." if found else "In no recipe of the package; set it on the command line."
    )


def _names(part: object) -> list[str]:
    return [part.name] if hasattr(part, "name") else []


def rows_of(key: str, table: Mapping[str, Callable]) -> Iterable[str]:
    """A section for each row of a table of makers."""
    for name, maker in table.items():
        module = inspect.getmodule(maker)
        about = inspect.getdoc(module) if module and len(inspect.getdoc(module) or "") > 150 else ""
        own = inspect.getdoc(maker)
        parts = [f"### {name}", as_text(own), settings(maker), users(key, name)]
        for place, called in re.findall(r"`(\w+)\.(\w+)`", own or ""):
            if callable(function := getattr(getattr(module, place, None), called, None)):
                parts.insert(2, as_text(inspect.getdoc(function)))
        if about and len([other for other in table.values() if inspect.getmodule(other) is module]) == 1:
            parts.insert(1, as_text(about))
        yield "\n\n".join(part for part in parts if part)


def page_of_tables(path: str, title: str, intro: str, tables: Mapping[str, tuple[str, Mapping[str, Callable]]]) -> None:
    """A page of sections, each a table of makers: heading -> (key of the recipe, table)."""
    parts = [f"# {title}", intro]
    for heading, (key, table) in tables.items():
        parts += [f"## {heading}", f"`--{key.replace('_', '-')}.name`: {', '.join(table)}", *rows_of(key, table)]
    write(path, *parts)


def keys_page() -> None:
    """Every key of a recipe: type, default, meaning."""
    parts = [
        WIDE + "# Keys of a recipe",
        "Each can be set on the command line: `--data.batch-size 64`, `--stages.-1.epochs 3`. A file sets them "
        "by name, Python by `recipe.replace({...})`. `lifeq-jax train RECIPE --keys` prints them with their values.",
    ]
    for prefix, record in (("", Recipe), ("data.", Data), ("stages.N.", Stage), ("optimizer.", Optimizer)):
        said, rows = _attribute_docs(record), []
        for field in dataclasses.fields(record):
            given = field.default if field.default is not dataclasses.MISSING else None
            if field.default_factory is not dataclasses.MISSING:
                given = field.default_factory()
            shown = "must be set" if given is None else f"`{given!r}`"
            if isinstance(given, Part):
                shown = f"`{given.name}`"
            if dataclasses.is_dataclass(given) and not isinstance(given, Part):
                shown = "see below"
            meaning = " ".join(said.get(field.name, "").split())
            rows.append([f"`{prefix}{field.name}`", f"`{_shown(field.type)}`", shown, meaning])
        parts += [f"## {record.__name__}", as_text(record.__doc__).partition("\n\n")[0]]
        parts.append(markdown_table(["key", "type", "default", "meaning"], rows))
    write("reference/keys.md", *parts)


def _shown(kind: object) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    return kind.__name__ if type(kind) is type else re.sub(r"typing\.|lifeq_jax\.[\w.]*\.", "", str(kind))


def _attribute_docs(record: type) -> dict[str, str]:
    """The texts below the fields of a class."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(record))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: text.value.value
        for field, text in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def recipes_page() -> None:
    """Every recipe of the package."""
    parts = ["# Recipes", "`lifeq-jax train NAME` trains one; `lifeq-jax recipes` lists them."]
    for path in dict.fromkeys(one.path for one in LISTED):
        rows = [[f"`{one.name}`", one.line] for one in LISTED if one.path == path]
        head = inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text())) or "")
        parts += [f"## {path.parent.name}/{path.name}", markdown_table(["name", "what it is"], rows)]
        parts.append(f"```text\n{head}\n```")
    write("reference/recipes.md", *parts)


def metrics_page() -> None:
    """Every metric with its formula."""
    intro = inspect.getdoc(continual)
    parts = ["# Metrics", as_text(intro)]
    for name in [*continual.CONTINUAL, "fwt"]:
        metric = getattr(continual, name)
        formula, _, rest = (inspect.getdoc(metric) or "").partition("\n")
        parts += [f"## {name}", f"`{formula}`", as_text(rest.strip())]
    write("reference/metrics.md", *parts)


def python_page() -> None:
    """The names of the front door, from their docstrings."""
    homes = lq._HOMES
    places = {name: place.replace(":", ".") for name, place in homes.items()}
    parts = ["# Python: every name", "[Examples](../api.md) come first; this is each name with its arguments."]
    for name, place in places.items():
        path = f"lifeq_jax.{place}" if ":" in homes[name] else f"lifeq_jax.{place}.{name}"
        if not inspect.ismodule(getattr(lq, name)):
            fields = (
                "\n    options: {members: [replace]}"
                if dataclasses.is_dataclass(getattr(lq, name)) and name in KEYS
                else ""
            )
            parts.append(f"::: {path}{fields}")
    write("reference/python.md", *parts)


KEYS = ("Recipe", "Data", "Stage", "Optimizer", "Part")  # their fields are on the page of keys


def results_pages() -> None:
    """results/targets.csv as a table, and the log and the benchmarks beside it."""
    with (ROOT / "results" / "targets.csv").open(newline="") as file:
        rows = [
            [
                f"`{row['recipe']}`",
                row["metric"].replace("_", " "),
                row["paper"],
                row["original"],
                _ours(row),
                row["seeds"],
                row["commit"],
                row["verdict"],
            ]
            for row in csv.DictReader(file)
        ]
    header = ["recipe", "metric", "published", "original program, same budget", "ours", "n", "commit", "verdict"]
    run = [row for row in rows if row[4]]
    rest = sorted({row[0] for row in rows} - {row[0] for row in run})
    write(
        "results/index.md",
        WIDE + "# Results",
        "Accuracies in per cent, forgetting in points; ours: mean ± sample standard deviation over n seeds, of a "
        "single seed without. How each was made: [log](LOG.md); how fast it is: [benchmarks](bench/README.md).",
        markdown_table(header, run),
        "## Not run yet",
        "\n".join(f"- {name}" for name in rest),
    )
    for name in ("LOG.md", "bench/README.md", "lqcl/README.md"):
        text = (ROOT / "results" / name).read_text()
        write(f"results/{name}", re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text))


def _ours(row: Mapping[str, str]) -> str:
    return f"{row['ours']}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{row['spread']}" if row["spread"] else row["ours"]


def tutorials() -> None:
    """The notebooks as pages."""
    lines = []
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        notebook = jupytext.read(path)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # browsers draw MathML themselves, without a network
                inline = re.sub(r"(?<=\S)\n(?=\$)", " ", cell.source)  # at the start of a line it would be a paragraph
                cell.source = re.sub(r"\$([^$]+)\$", lambda found: convert(found[1]), inline)
        text = jupytext.writes(notebook, fmt="md")
        text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)
        text = re.sub(r"^```python .*$", "```python", text, flags=re.MULTILINE)
        text = re.sub(r"\]\(\.\./docs/", "](../", text)
        write(f"tutorials/{path.stem}.md", re.sub("```python\n.*?```", _with_figure, text, flags=re.DOTALL))
        title = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), path.stem)
        lines.append(f"- [{title}]({path.stem}.md): `notebooks/{path.stem}.ipynb`")
    write("tutorials/index.md", "# Tutorials", "Notebooks that run in minutes on a CPU.", "\n".join(lines))


def _with_figure(block: re.Match) -> str:
    """A block of code, and below it the figures that it saves, as they were committed."""
    named = re.findall(r"figures / \"([\w.]+)\"", block[0])
    kept = [name for name in named if (ROOT / "docs" / "figures" / name).exists()]
    return "\n\n".join([block[0], *(f"![{name}](../figures/{name})" for name in kept)])


LISTED = listed_recipes()
RECIPES = {one.name: load_recipe(one.name) for one in LISTED if not one.name.startswith("blip_rl/")}

page_of_tables(
    "reference/methods.md",
    "Methods",
    "What protects old tasks, by the key that chooses it. Where a method differs from its paper or the paper's "
    "program: [decisions](../decisions.md).",
    {
        "Continual learning": ("method", METHODS),
        "Distillation": ("distillation", {name: row for name, row in DISTILLATIONS.items() if name != "none"}),
        "Oscillating weights": ("oscillation", OSCILLATIONS),
    },
)
page_of_tables(
    "reference/losses.md",
    "Losses",
    "Each gives one value an example, in nats. Deviations: [decisions](../decisions.md).",
    {"Losses": ("loss", LOSSES)},
)
weights = {name: row for name, row in QUANTIZERS.items() if "activation" not in name}
page_of_tables(
    "reference/quantizers.md",
    "Quantizers",
    "Bits are those of the stage: 1 to 8, or 32 for none. Deviations: [decisions](../decisions.md).",
    {
        "Weights": ("weight_quantizer", weights),
        "Activations": ("act_quantizer", {name: row for name, row in QUANTIZERS.items() if name not in weights}),
    },
)
page_of_tables(
    "reference/networks.md",
    "Networks",
    f"Which layers are quantized, and to how many bits, `--quant-setup` decides: {', '.join(SETUPS)}. "
    "`lifeq-jax train RECIPE --layers` prints the bits of every layer.",
    {"Networks": ("model", MODELS)},
)
keys_page()
recipes_page()
metrics_page()
python_page()
results_pages()
tutorials()
for page in ("architecture.md", "measured.md"):  # of results/, the site has these two pages
    text = (ROOT / "docs" / page).read_text()
    text = re.sub(r"\]\(\.\./(results/(?:LOG|bench/README)\.md)\)", r"](\1)", text)
    write(page, re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text))
