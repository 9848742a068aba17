import pytest

from lifeq_jax.core.files import write_whole
from lifeq_jax.core.refusal import Refusal


def test_replaces_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_whole(path, "old")
    write_whole(path, "new é\n")
    assert path.read_bytes() == "new é\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    write_whole(path, "old")
    with pytest.raises(Refusal, match=r"a\.csv cannot be written: 'bad\\udcff' is not UTF-8 text"):
        write_whole(path, "bad\udcff")
    assert path.read_text() == "old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refusal, match=r"folder cannot be written: Is a directory"):
        write_whole(tmp_path / "folder", "text")
