import json
import shutil

import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.identity import SIZES, changed_file, digest_of
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.tables import catalog, load_tasks


@pytest.fixture
def sequence(make_tree, tmp_path):
    """(root, prefix) of two tasks with replay."""
    root = make_tree({f"{split}/{name}": 5 for split in ("train", "test") for name in "abcd"})
    make_lifelong(root, tmp_path / "csv/toy", num_tasks=2, diminish_rate=0.5)
    make_replay(tmp_path / "csv/toy", num_tasks=2)
    return root, tmp_path / "csv/toy"


def read(root, prefix, replay=True):
    tasks = load_tasks(prefix, 2, root=root, num_classes=4, replay=replay)
    paths = catalog([table for task in tasks for table in task if table is not None]).paths
    return paths, digest_of(prefix, tasks, root)


def test_equal_data_elsewhere_has_an_equal_digest(sequence, tmp_path):
    paths, digest = read(*sequence)
    names = {f"toy_{kind}{task}.csv" for kind in ("train", "test", "replay") for task in range(2)}
    assert digest.keys() == names | {SIZES}
    shutil.copytree(sequence[0], tmp_path / "moved/images")
    shutil.copytree(sequence[1].parent, tmp_path / "moved/csv")
    path = tmp_path / "moved/csv/toy_train0.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    moved = read(tmp_path / "moved/images", tmp_path / "moved/csv/toy")[1]
    assert moved == digest and changed_file(json.loads(json.dumps(digest)), moved, paths) is None


def rewritten(change):
    def edit(root, prefix):
        path = prefix.parent / "toy_test1.csv"
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *change(lines)]) + "\n")

    return edit


CHANGES = {
    "order": (rewritten(lambda lines: lines[::-1]), "toy_test1.csv"),
    "label": (
        rewritten(lambda lines: [f"{lines[0].split(',')[0]},0", f"{lines[1][:-1]}1", *lines[2:]]),
        "toy_test1.csv",
    ),
    "a row less": (rewritten(lambda lines: lines[1:]), "toy_test1.csv"),
    "another seed": (
        lambda root, prefix: (
            make_lifelong(root, prefix, num_tasks=2, diminish_rate=0.5, seed=7) and make_replay(prefix, num_tasks=2)
        ),
        "toy_replay0.csv",
    ),
    "an image": (lambda root, prefix: (root / "train/b/0003.png").write_bytes(b"x"), "train/b/0003.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_changed_file_is_named(change, sequence):
    before = read(*sequence)[1]
    edit, name = CHANGES[change]
    edit(*sequence)
    paths, now = read(*sequence)
    assert changed_file(before, now, paths) == name


def test_a_file_more_and_a_damaged_digest_differ(sequence):
    paths, digest = read(*sequence)
    fewer, without = read(*sequence, replay=False)
    assert changed_file(digest, without, fewer) == changed_file(without, digest, paths) == "toy_replay0.csv"
    for damaged in ("", "x", "AAAA", digest[SIZES][:-8]):
        assert changed_file(digest | {SIZES: damaged}, digest, paths) == SIZES
    tasks = load_tasks(sequence[1], 2, root=sequence[0], num_classes=4, replay=True)
    (sequence[0] / "train/a/0000.png").unlink()
    with pytest.raises(Refusal, match=r"train/a/0000\.png cannot be read: No such file"):
        digest_of(sequence[1], tasks, sequence[0])
