import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.prepare import pad, prepare, resized_square
from lifeq_jax.data.sampling import stratified
from lifeq_jax.data.walk import list_images
from tests.data import odd_files


def files_of(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def digits_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared") / "digits"
    made = prepare(root, "digits", download=False, seed=0)
    assert made.images == {"train": 1438, "test": 359}
    assert made.classes == tuple("0123456789") and made.sizes == ((8, 8),) and not made.already
    return root


def test_digits_are_the_scans_of_scikit_learn(digits_root):
    scans = load_digits()
    mask = stratified(scans.target, 0.2, 0)
    for split, held in (("train", False), ("test", True)):
        classes, table, _ = list_images(digits_root, split)
        assert classes == [str(digit) for digit in range(10)]
        indices = [int(path[-8:-4]) for path in table.path.tolist()]
        assert sorted(indices) == np.flatnonzero(mask == held).tolist()
        np.testing.assert_array_equal(table.label, scans.target[indices])
        for path, index in list(zip(table.path.tolist(), indices, strict=True))[::40]:
            pixels = np.asarray(Image.open(digits_root / path))
            np.testing.assert_array_equal(pixels, np.rint(scans.images[index] * 255 / 16))


def test_a_complete_tree_is_left_alone(digits_root):
    before = {path: path.stat().st_mtime_ns for path in digits_root.rglob("*")}
    again = prepare(digits_root, "digits", download=False, seed=0)
    told = f"{digits_root}: 1438 train, 359 test images of 10 classes, 8x8; "
    assert again.already and str(again) == f"{told}complete already"
    many = again._replace(already=False, sizes=((4, 9), (8, 8), (8, 9), (9, 9)))
    assert str(many) == told.replace("8x8", "4x9, 8x8, 8x9, ...") + "ready"
    assert {path: path.stat().st_mtime_ns for path in digits_root.rglob("*")} == before
    assert [path.name for path in digits_root.parent.iterdir()] == ["digits"]


def test_the_same_arguments_make_the_same_files(digits_root, tmp_path):
    prepare(tmp_path / "again", "digits", download=False, seed=0)
    assert files_of(tmp_path / "again") == files_of(digits_root)


def test_refuses_a_root_of_something_else(digits_root, make_tree):
    with pytest.raises(Refusal, match=r"digits was made with seed=0, not 1; choose another root"):
        prepare(digits_root, "digits", download=False, seed=1)
    root = make_tree({"train/a": 1})
    with pytest.raises(Refusal, match=r"images is there without a readable prepared\.json"):
        prepare(root, "digits", download=False, seed=0)
    assert list(files_of(root)) == ["train/a/0000.png"]


def test_refuses_a_tree_that_lost_a_file(make_tree, tmp_path):
    made = {"download": False, "seed": 0, "size": 4, "source_folder": make_tree({"train/a": 2})}
    prepare(tmp_path / "small", "folder", **made)
    (tmp_path / "small/train/a/0001.png").unlink()
    with pytest.raises(Refusal, match=r"small/train holds 1 files where 2 were written"):
        prepare(tmp_path / "small", "folder", **made)


def test_a_killed_run_leaves_nothing_that_looks_complete(tmp_path):
    code = (
        "import os, signal, sys, pathlib; from PIL import Image; from lifeq_jax.data import prepare as p\n"
        "def die(images):\n"
        "    for n, item in enumerate(images):\n"
        "        if n == 50: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield item\n"
        "whole = p._written\n"
        "p._written = lambda part, images, *how: whole(part, die(images), *how)\n"
        "p.prepare(pathlib.Path(sys.argv[1]), 'digits', download=False, seed=0)\n"
    )
    root = tmp_path / "digits"
    assert subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True).returncode == -9
    assert not root.exists() and os.listdir(tmp_path) == [".digits.part"]
    assert not prepare(root, "digits", download=False, seed=0).already
    assert os.listdir(tmp_path) == ["digits"]


def test_checks_a_folder_and_names_the_first_broken_image(make_tree):
    root = make_tree({"train/a": 2, "train/b": 1, "test/a": 1})
    made = prepare(root, "folder", download=False, seed=0)
    assert made.images == {"train": 3, "test": 1} and made.classes == ("a", "b") and made.sizes == ((8, 8),)
    (root / "train/b/0000.png").write_bytes(b"broken")
    with pytest.raises(Refusal, match=r"train/b/0000\.png is not a readable image"):
        prepare(root, "folder", download=False, seed=0)


def test_refuses_trees_of_another_shape(make_tree, tmp_path):
    with pytest.raises(Refusal, match=r"none has no images; expected <split>/<class>/<file>"):
        prepare(tmp_path / "none", "folder", download=False, seed=0)
    root = make_tree({"train": 1})
    with pytest.raises(Refusal, match=r"train/0000\.png is not in a class folder"):
        prepare(root, "folder", download=False, seed=0)
    (root / "train").rename(root / "dog")
    told = (
        r"dog/0000\.png is in a class folder, but in no split; .* --from .*images --root NEW --test-share 0\.2` makes"
    )
    with pytest.raises(Refusal, match=told):
        prepare(root, "folder", download=False, seed=0)
    (root / "dog/0000.png").unlink()
    make_tree({"train/b": 1})
    with pytest.raises(Refusal, match=r"dog has no images"):
        prepare(root, "folder", download=False, seed=0)


@pytest.fixture
def odd_tree(tmp_path):
    """A tree of the odd files, one class, with two files of other kinds."""
    place = tmp_path / "odd/train/a"
    place.mkdir(parents=True)
    files = odd_files.SAME | odd_files.FRAMES | odd_files.INKS
    contents = {name: content for name, (content, _) in files.items()}
    contents |= {name: content for name, (_, content, _) in odd_files.REFUSED.items()}
    for name, content in contents.items():
        (place / name).write_bytes(content)
    (place / "notes.txt").write_text("")
    (place / "x.bmp.png").write_bytes(contents["plain.png"])
    return tmp_path / "odd"


def test_a_copy_is_what_training_reads_and_says_what_it_changed(odd_tree, tmp_path):
    made = prepare(tmp_path / "plain", "folder", download=False, seed=0, source_folder=odd_tree)
    assert made.converted == {
        ".bmp": 1, ".gif": 1, ".pgm": 1, ".tif": 3, ".webp": 1, "of 16 bits": 6, "of inks (CMYK)": 1,
        "of several frames": 3, "turned by their EXIF tag": 5, "of another format than their ending": 1,
    }  # fmt: skip
    assert made.left_out == {".txt": 1} and made.images == {"train": len(os.listdir(odd_tree / "train/a")) - 1}
    assert str(made).splitlines()[1].startswith("converted: 1 .bmp, 1 .gif, ")
    assert str(made).splitlines()[2] == "left out: 1 .txt"
    checked = prepare(tmp_path / "plain", "folder", download=False, seed=0)
    assert checked.images == made.images and not checked.noticed and not checked.left_out
    again = prepare(tmp_path / "plain", "folder", download=False, seed=0, source_folder=odd_tree)
    assert again == made._replace(already=True)
    copied, given = files_of(tmp_path / "plain/train/a"), files_of(odd_tree / "train/a")
    for name in odd_files.SAME:
        assert copied[name] == given[name]
    assert {"x.bmp.png", "x.bmp.png.png", "turned.tif.png", "turned.jpg"} <= copied.keys()
    assert Image.open(tmp_path / "plain/train/a/turned.jpg").size == (8, 10)


def test_a_check_says_what_it_leaves_out_and_how_odd_images_are_read(odd_tree):
    for name, (_, content, _) in odd_files.REFUSED.items():
        if content[:2] in (b"\x89P", b"\xff\xd8") or name.endswith((".png", ".jpg")):
            (odd_tree / "train/a" / name).unlink()
    made = prepare(odd_tree, "folder", download=False, seed=0)
    assert made.already and made.noticed == {"of several frames": 2, "of inks (CMYK)": 1}
    assert made.left_out == {".bmp": 1, ".gif": 1, ".pgm": 1, ".tif": 3, ".txt": 1, ".webp": 1}
    assert str(made).splitlines()[1] == "read as they are: 1 of inks (CMYK), 2 of several frames"
    assert str(made).splitlines()[2].startswith("left out: 1 .bmp, 1 .gif, 1 .pgm, 3 .tif, 1 .txt, 1 .webp; `lifeq-jax")


def share(root, **how):
    return prepare(root.parent / "split", "folder", download=False, source_folder=root, test_fraction=0.25, **how)


@pytest.mark.parametrize("inside", ["", "train/", "raw/"])
def test_a_test_split_is_made_where_there_is_none(make_tree, inside):
    root = make_tree({f"{inside}a": 8, f"{inside}b": 2, f"{inside}a/deep": 4})
    kept = inside.removeprefix("train/")
    made = share(root, seed=0)
    assert made.images == {"train": 10, "test": 4}
    both = [set(files_of(root.parent / "split" / split)) for split in ("train", "test")]
    assert both[0] | both[1] == {name.replace(inside, kept, 1) for name in files_of(root)} and not both[0] & both[1]
    assert sum(name.startswith(f"{kept}a/deep") for name in both[1]) == sum(
        name.startswith(f"{kept}b") for name in both[1]
    )
    shutil.rmtree(root.parent / "split")
    assert share(root, seed=0) == made and set(files_of(root.parent / "split/test")) == both[1]
    shutil.rmtree(root.parent / "split")
    share(root, seed=1)
    assert set(files_of(root.parent / "split/test")) != both[1]


def test_equal_images_are_on_one_side(make_tree):
    root = make_tree({"a": 12})
    for path in sorted((root / "a").iterdir())[1:9]:
        shutil.copy(root / "a/0000.png", path)
    for seed in range(3):
        share(root, seed=seed)
        sides = [set(files_of(root.parent / f"split/{split}").values()) for split in ("train", "test")]
        assert sides[0] and sides[1] and not sides[0] & sides[1]
        shutil.rmtree(root.parent / "split")


def test_refuses_a_share_of_what_is_split_or_cannot_be(make_tree):
    root = make_tree({"train/a": 2, "val/a": 1})
    with pytest.raises(Refusal, match=r"val/a/0000\.png is in a test split already"):
        share(root, seed=0)
    with pytest.raises(Refusal, match=r"is only checked: to change its images give it as --from, and another --root"):
        prepare(root, "folder", download=False, seed=0, test_fraction=0.5)
    shutil.rmtree(root)
    with pytest.raises(Refusal, match=r"^a has 2 image\(s\), all equal"):
        root = make_tree({"a": 1})
        shutil.copy(root / "a/0000.png", root / "a/0001.png")
        share(root, seed=0)
    with pytest.raises(Refusal, match=r"test_fraction=1\.5 is out of range"):
        prepare(root.parent / "x", "folder", download=False, seed=0, source_folder=root, test_fraction=1.5)


def test_writes_a_copy_of_one_size(make_tree, tmp_path):
    root = make_tree({"train/a": 1, "test/x/a": 1}, (10, 16, 3))
    Image.new("RGB", (9, 30), (200, 10, 10)).save(root / "train/a/tall.JPG")
    made = prepare(tmp_path / "small", "folder", download=False, seed=0, size=8, source_folder=root)
    assert made.images == {"train": 2, "test": 1} and made.sizes == ((8, 8),)
    assert Image.open(tmp_path / "small/train/a/tall.JPG").format == "JPEG"
    expected = resized_square(Image.open(root / "test/x/a/0000.png"), 8)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "small/test/x/a/0000.png")), np.asarray(expected))
    again = prepare(tmp_path / "small", "folder", download=False, seed=0, size=8, source_folder=root)
    assert again == made._replace(already=True)


def test_fit_is_the_centered_square_at_the_asked_size():
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 3:7] = 250
    np.testing.assert_array_equal(np.asarray(resized_square(Image.fromarray(pixels), 4)), np.full((4, 4, 3), 250))
    with pytest.raises(Refusal, match="size=0 is out of range"):
        resized_square(Image.fromarray(pixels), 0)


@pytest.mark.parametrize(("shape", "mode"), [((7, 5, 1), "L"), ((7, 5, 3), "RGB")])
def test_a_canvas_puts_black_around_gray_and_color(make_tree, tmp_path, shape, mode):
    root = make_tree({"train/a": 1, "test/a": 1}, shape)
    made = prepare(tmp_path / "wide", "folder", download=False, seed=0, canvas=10, source_folder=root)
    assert made.images == {"train": 1, "test": 1} and made.sizes == ((10, 10),)
    padded = Image.open(tmp_path / "wide/train/a/0000.png")
    assert padded.mode == mode
    inside = np.asarray(Image.open(root / "train/a/0000.png"))
    expected = np.zeros((10, 10, *inside.shape[2:]), np.uint8)
    expected[1:8, 2:7] = inside
    np.testing.assert_array_equal(np.asarray(padded), expected)
    again = prepare(tmp_path / "wide", "folder", download=False, seed=0, canvas=10, source_folder=root)
    assert again == made._replace(already=True)
    with pytest.raises(Refusal, match=r"wide was made with canvas=10, not 12; choose another root"):
        prepare(tmp_path / "wide", "folder", download=False, seed=0, canvas=12, source_folder=root)


def test_a_canvas_is_that_of_the_original(golden):
    arrays = golden("blip_task_sequences")
    for digit, normalized in zip(arrays["mnist_u8"], arrays["mixture_mnist_norm"], strict=True):
        padded = np.asarray(pad(Image.fromarray(digit), 32), np.float32)
        np.testing.assert_allclose((padded / 255 - 0.1) / 0.2752, normalized[0], rtol=1e-5, atol=1e-6)


def test_a_canvas_takes_resized_images_and_refuses_larger_ones(make_tree, tmp_path):
    root = make_tree({"train/a": 1, "train/b": 1}, (9, 12, 3))
    how = {"download": False, "seed": 0, "source_folder": root}
    made = prepare(tmp_path / "small", "folder", size=4, canvas=6, **how)
    assert made.sizes == ((6, 6),)
    expected = np.zeros((6, 6, 3), np.uint8)
    expected[1:5, 1:5] = np.asarray(resized_square(Image.open(root / "train/b/0000.png"), 4))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "small/train/b/0000.png")), expected)
    with pytest.raises(Refusal, match=r"^train/a/0000\.png: 9x12 pixels do not fit canvas=11$"):
        prepare(tmp_path / "wide", "folder", canvas=11, **how)
    assert sorted(os.listdir(tmp_path)) == ["images", "small"]


def test_a_broken_image_leaves_no_copy(make_tree, tmp_path):
    root = make_tree({"train/a": 3})
    (root / "train/a/0001.png").write_bytes(b"broken")
    with pytest.raises(Refusal, match=r"0001\.png is not a readable image"):
        prepare(tmp_path / "small", "folder", download=False, seed=0, size=8, source_folder=root)
    assert os.listdir(tmp_path) == ["images"]


def test_refuses_arguments_that_say_nothing_together_and_an_unwritable_root(make_tree, tmp_path):
    root = make_tree({"train/a": 1})
    for change in ({"size": 8}, {"canvas": 8}):
        with pytest.raises(Refusal, match="images is only checked: to change its images give it as --from"):
            prepare(root, "folder", download=False, seed=0, **change)
    with pytest.raises(Refusal, match="source 'digits' takes no other folder; choose source folder to copy"):
        prepare(tmp_path / "small", "digits", download=False, seed=0, source_folder=root)
    with pytest.raises(Refusal, match=r"0000\.png/digits cannot be written: Not a directory"):
        prepare(root / "train/a/0000.png/digits", "digits", download=False, seed=0)


def test_tensorflow_is_not_imported_before_it_is_needed():
    modules = [
        "tables",
        "lifelong",
        "sequences",
        "permute",
        "replay",
        "class_counts",
        "inspect",
        "order",
        "augment",
        "resident",
        "pipeline",
        "prepare",
    ]
    imports = ", ".join(f"lifeq_jax.data.{module}" for module in modules)
    code = f"import sys, {imports}; print({{'tensorflow', 'tensorflow_datasets', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
