"""The rules of the house: who imports whom, how large a file may be, what must be documented.

Read from the source with ast, so a rule holds for code that no test runs."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "lifeq_jax"
BENCHMARKS = "benchmarks"  # stand beside the package and may import all of it

ALLOWED = {
    "core": "",
    "recipes": "core",
    "data": "core",
    "quant": "core",
    "layers": "core quant",
    "losses": "core quant",
    "metrics": "core quant",
    "models": "core quant layers",
    "optim": "core quant",
    "methods": "core quant losses optim",
    "runs": "core metrics",
    "report": "core metrics runs",
    "export": "core quant layers models runs",
    "train": "core data quant layers models losses optim methods metrics runs",
    "rl": "core quant layers losses models optim methods metrics runs train",
    "api": "core data quant layers models losses optim methods metrics runs train report export rl",
}
ROOF = {
    f"{PACKAGE}.{name}"
    for name in (
        "__main__",
        "cli",
        "cli_data",
        "cli_doctor",
        "cli_errors",
        "cli_export",
        "cli_games",
        "cli_keys",
        "cli_parser",
        "cli_processes",
        "cli_recipes",
        "cli_start",
        "cli_sweep",
        "cli_workers",
        "toy",
    )
}  # these may import every room
LAZY = {
    *("ale_py", "argcomplete", "gymnasium", "onnx", "onnxruntime", "optuna", "pgx", "sklearn", "submitit"),
    *("tensorboardX", "tensorflow"),
    *("brevitas", "qwix", "tensorflow_datasets", "torch", "tyro"),
}
PEERS = {f"{BENCHMARKS}.peers_torch", f"{BENCHMARKS}.peers_qwix"}  # networks of torch and qwix, imported in functions
HOMES = {  # which modules may import a heavy package, in a function
    "tensorflow": {f"{PACKAGE}.data.pipeline", f"{PACKAGE}.data.prepare"},
    "tensorflow_datasets": {f"{PACKAGE}.data.sources", f"{PACKAGE}.data.prepare"},
    "ale_py": {f"{PACKAGE}.rl.ale"},
    "pgx": {f"{PACKAGE}.rl.minatar"},
    "onnx": {f"{PACKAGE}.export.export", f"{PACKAGE}.export.onnx_graph"},
    "onnxruntime": {f"{BENCHMARKS}.exported", f"{PACKAGE}.export.export", f"{PACKAGE}.export.runtime"},
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path for folder in (PACKAGE, BENCHMARKS) for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def imports_of(nodes):
    """Dotted names that the nodes import; of `from a import b` both a and a.b."""
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def tops(names):
    """First parts of dotted names."""
    return {name.split(".")[0] for name in names}


def at_import(tree):
    """The nodes that run when a module is imported: all but the bodies of functions."""
    nodes = list(tree.body)
    for node in nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes += ast.iter_child_nodes(node)
    return nodes


def own_imports(tree):
    """Modules of the package that a tree imports, anywhere in it."""
    return {name for name in imports_of(ast.walk(tree)) if name in SOURCES and name != PACKAGE}


def room_of(module):
    first, *rest = module.split(".")
    return rest[0] if first == PACKAGE else first


def rooms_broken(module, tree):
    """Imports that a module's room does not allow."""
    if module == PACKAGE or module in ROOF or room_of(module) == BENCHMARKS:
        return []
    allowed = {room_of(module), *ALLOWED[room_of(module)].split()}
    return sorted(name for name in own_imports(tree) if room_of(name) not in allowed)


def circle(graph):
    """A circle of modules in {module: modules it imports}, or None."""
    state = {}

    def visit(module, path):
        if state.get(module) == "done":
            return None
        if module in path:
            return [*path[path.index(module) :], module]
        found = next(filter(None, (visit(other, [*path, module]) for other in sorted(graph[module]))), None)
        state[module] = "done"
        return found

    return next(filter(None, (visit(module, []) for module in sorted(graph))), None)


def test_every_room_has_its_list():
    rooms = {room_of(name) for name in SOURCES if name != PACKAGE and name not in ROOF} - {BENCHMARKS}
    assert rooms <= ALLOWED.keys()


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_room_imports_only_what_its_list_allows(module):
    assert rooms_broken(module, TREES[module]) == []


def test_a_forbidden_import_is_seen():
    tree = ast.parse("def f():\n    from lifeq_jax.metrics.continual import bwt\n")
    assert rooms_broken("lifeq_jax.quant.base", tree) == ["lifeq_jax.metrics.continual"]
    assert rooms_broken("lifeq_jax.report.groups", tree) == []


def test_the_package_imports_nothing_that_is_not_shipped_with_it():
    users = [name for name, tree in TREES.items() if tops(imports_of(ast.walk(tree))) & {BENCHMARKS, "tests"}]
    assert {room_of(name) for name in users} == {BENCHMARKS}


def test_imports_are_absolute():
    imports = [(name, other) for name, tree in TREES.items() for other in imports_of(ast.walk(tree))]
    assert [pair for pair in imports if pair[1].startswith(".")] == []


def test_no_circle_of_imports():
    assert circle({name: own_imports(tree) - {name} for name, tree in TREES.items()}) is None


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - PEERS))
def test_heavy_packages_are_imported_in_functions_only(module):
    assert tops(imports_of(at_import(TREES[module]))) & LAZY == set()


def test_modules_of_peers_are_imported_in_functions_only():
    assert [name for name, tree in TREES.items() if set(imports_of(at_import(tree))) & PEERS] == []


def test_an_import_that_runs_at_once_is_told_from_a_lazy_one():
    lines = ["try:", "    import tyro", "finally:", "    pass", "def f():", "    import tensorflow"]
    tree = ast.parse("\n".join(lines))
    assert tops(imports_of(at_import(tree))) & LAZY == {"tyro"}


@pytest.mark.parametrize("package", sorted(HOMES))
def test_a_heavy_package_stays_at_home(package):
    users = {name for name, tree in TREES.items() if package in tops(imports_of(ast.walk(tree)))}
    assert users <= HOMES[package]


def test_importing_everything_loads_none_of_the_heavy_packages():
    modules = sorted(name for name in SOURCES.keys() - PEERS if not name.endswith(".__main__"))
    loop, loaded = (
        f"for name in {modules!r}: __import__(name)",
        f"print(sorted({LAZY!r} & sys.modules.keys()))",
    )
    lines = ["import sys", loop, loaded]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


FUNCTIONS = {
    f"{module}:{node.lineno} {node.name}": node
    for module, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}


def over(lengths, limit):
    return {name: length for name, length in lengths.items() if length > limit}


def test_files_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in SOURCES.items()}
    assert over(lengths, 450) == {}
    assert statistics.median(length for length in lengths.values() if length) <= 180


def test_functions_are_short():
    lengths = {name: node.end_lineno - node.lineno + 1 for name, node in FUNCTIONS.items()}
    assert over(lengths, 120) == {}
    assert statistics.median(lengths.values()) <= 15


def is_public(node):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    # Flax calls `setup` of a module; its meaning is Flax's, not ours
    return isinstance(node, kinds) and not node.name.startswith("_") and node.name != "setup"


def public(tree):
    """Public functions and classes of a module, and public methods of its public classes."""
    top = [node for node in tree.body if is_public(node)]
    inside = [node for kind in top if isinstance(kind, ast.ClassDef) for node in kind.body if is_public(node)]
    return top + inside


PUBLIC = {f"{name}:{node.lineno} {node.name}": node for name, tree in TREES.items() for node in public(tree)}


def test_nine_in_ten_public_names_are_documented():
    bare = [name for name, node in PUBLIC.items() if not ast.get_docstring(node)]
    assert len(bare) <= 0.1 * len(PUBLIC), bare


def test_every_module_says_what_it_is():
    assert [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_nine_in_ten_public_functions_state_their_return_type():
    functions = {name: node for name, node in PUBLIC.items() if not isinstance(node, ast.ClassDef)}
    bare = [name for name, node in functions.items() if node.returns is None]
    assert len(bare) <= 0.1 * len(functions), bare


MACHINE = re.compile(r"(?<![\w.$}~>-])/(?:work|home|root|Users|mnt|scratch|tmp|opt|usr|srv)/[\w.]")
WHERE = [
    "lifeq_jax/**/*.py",
    "benchmarks/**/*.py",
    "examples/*.py",
    "tests/**/*.py",
    "notebooks/*",
    "docs/**/*.md",
    "results/*.md",
    "*.md",
    "Makefile",
    "pyproject.toml",
    ".ci/run",
]
TEXTS = [path for pattern in WHERE for path in sorted(ROOT.glob(pattern)) if path.is_file()]


@pytest.mark.parametrize("text", ["open('/home/me/x')", "root = /mnt/disk", "see `/work/run`"])
def test_a_path_of_a_machine_is_seen(text):
    assert MACHINE.search(text)


@pytest.mark.parametrize("text", ["data/home/x", "../tmp/x", "https://a.org/home/b", "f'{root}/usr/'"])
def test_other_paths_are_not_taken_for_one(text):
    assert not MACHINE.search(text)


def test_no_source_names_a_path_of_a_machine():
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in TEXTS
        if path != own
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if MACHINE.search(line) and not line.startswith("#!")
    ]
    assert found == []
