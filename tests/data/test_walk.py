import os
from collections import Counter

import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.walk import list_images, readable_endings, told_left_out, walk


def test_lists_classes_as_strings_files_sorted_and_what_lies_deeper(make_tree):
    root = make_tree({"train/2": 2, "train/10": 1, "train/2/a": 1, "test/2": 1})
    (root / "train" / ".hidden").mkdir()
    (root / "train" / "2" / "._0000.png").write_bytes(b"")
    for name in ("notes.txt", "more.TXT", "none", "x.bmp"):
        (root / "train" / "2" / name).write_bytes(b"")
    (root / "train" / "10" / "0000.png").rename(root / "train" / "10" / "0000.PNG")
    classes, table, left_out = list_images(root, "train")
    assert classes == ["10", "2"]
    assert table.path.tolist() == [
        "train/10/0000.PNG", "train/2/0000.png", "train/2/0001.png", "train/2/a/0000.png",
    ]  # fmt: skip
    assert table.label.tolist() == [0, 1, 1, 1]
    assert left_out == {"hidden": 2, ".txt": 2, "without ending": 1, ".bmp": 1}
    told = "left out: 1 .bmp, 2 .txt, 2 hidden, 1 without ending; `lifeq-jax data prepare "
    assert told_left_out(left_out).startswith(told)
    assert told_left_out(Counter({"hidden": 1})) == "left out: 1 hidden"


def test_refuses_what_is_not_there(make_tree):
    root = make_tree({"train/a": 1, "val/a": 1})
    with pytest.raises(Refusal, match=r"test is not a folder; splits under .*: train, val; .*--test-share 0\.2` makes"):
        list_images(root, "test")
    with pytest.raises(Refusal, match=r"other is not a folder; splits under .*: train, val$"):
        list_images(root, "other")
    with pytest.raises(Refusal, match=r"nowhere/train is not a folder; splits under .*: none$"):
        list_images(root / "nowhere", "train")
    with pytest.raises(Refusal, match=r"train/a/0000\.png is not in a class folder; expected <split>/<class>/<file>"):
        list_images(root / "train", "a")
    (root / "train" / "b").mkdir()
    with pytest.raises(Refusal, match=r"train/b has no images; expected .*\.jpeg$"):
        list_images(root, "train")
    (root / "train" / "b" / "x.webp").write_bytes(b"")
    with pytest.raises(
        Refusal, match=r"train/b has no images; .*; left out: 1 \.webp; `lifeq-jax data prepare .* --from"
    ):
        list_images(root, "train")
    (root / "empty").mkdir()
    with pytest.raises(Refusal, match=r"empty has no class folders"):
        list_images(root, "empty")


def test_links_are_followed_and_each_real_folder_is_read_once(make_tree):
    root = make_tree({"train/a": 2, "elsewhere/b": 1})
    (root / "train/b").symlink_to(root / "elsewhere/b", target_is_directory=True)
    (root / "train/a/loop").symlink_to(root / "train", target_is_directory=True)
    (root / "train/a/file.png").symlink_to(root / "elsewhere/b/0000.png")
    classes, table, left_out = list_images(root, "train")
    names = ["train/a/0000.png", "train/a/0001.png", "train/a/file.png", "train/b/0000.png"]
    assert classes == ["a", "b"] and table.path.tolist() == names
    assert left_out == {"folders linked twice": 1}
    (root / "train/c").symlink_to(root / "elsewhere/b", target_is_directory=True)
    with pytest.raises(Refusal, match=r"train/c is a link to a folder that has been read under another name"):
        list_images(root, "train")
    (root / "train/c").unlink()
    (root / "test").symlink_to(root / "train", target_is_directory=True)
    with pytest.raises(Refusal, match=r"test is a link to a folder that has been read under another name"):
        make_lifelong(root, root.parent / "toy", num_tasks=1, diminish_rate=1)


def test_refuses_links_to_nothing_and_locked_folders(make_tree, monkeypatch):
    root = make_tree({"train/a": 1})
    (root / "train/a/gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(Refusal, match=r"train/a/gone\.png is a link to nothing"):
        walk(root)

    def locked(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(Refusal, match=r"images cannot be read: Permission denied$"):
        walk(root)


def test_readable_endings_are_of_formats_whose_pixels_pillow_reads():
    some = {".bmp", ".gif", ".tif", ".webp", ".jfif", ".mpo", ".jp2", ".pgm", ".tga", ".ico"}
    assert some <= readable_endings() and not {".eps", ".mpg", ".h5", ".pdf", ".txt"} & readable_endings()
