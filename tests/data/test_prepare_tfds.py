"""Preparing sets of tfds: one generated here, and imagenet2012 as tfds mocks it."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.prepare import prepare
from lifeq_jax.data.walk import list_images
from tests.data import odd_files


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory):
    """A real tfds set, generated on this machine: (name, data_dir)."""
    import tensorflow_datasets as tfds

    class TinyScans(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            label = tfds.features.ClassLabel(names=["cat", "a/b"])
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(6, 5, 1)), "label": label})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

        def _generate_examples(self, num):
            for index in range(num):
                yield index, {"image": np.full((6, 5, 1), 10 * index, np.uint8), "label": index % 2}

    place = tmp_path_factory.mktemp("tfds")
    TinyScans(data_dir=str(place)).download_and_prepare()
    return "tiny_scans", place


@pytest.mark.filterwarnings("ignore")
def test_writes_a_tfds_set_that_is_there(tiny_set, tmp_path):
    name, data_dir = tiny_set
    made = prepare(tmp_path / "tiny", name, download=False, seed=0, data_dir=data_dir)
    assert made.images == {"train": 4, "test": 2} and made.classes == ("a_b", "cat") and made.sizes == ((6, 5),)
    values = {}
    for path in list_images(tmp_path / "tiny", "train").table.path.tolist():
        pixels = np.asarray(Image.open(tmp_path / "tiny" / path))
        assert pixels.shape == (6, 5) and len(np.unique(pixels)) == 1
        values[pixels[0, 0].item()] = path.split("/")[1]
    assert values == {0: "cat", 10: "a_b", 20: "cat", 30: "a_b"}
    assert json.loads((tmp_path / "tiny/prepared.json").read_text())["recipe"] == {"source": name, "size": None}
    wide = prepare(tmp_path / "wide", name, download=False, seed=0, canvas=8, data_dir=data_dir)
    assert wide.sizes == ((8, 8),) and wide.images == made.images
    path = list_images(tmp_path / "wide", "train").table.path.tolist()[-1]
    pixels = np.asarray(Image.open(tmp_path / "wide" / path))
    assert (pixels[1:7, 1:6] == pixels[1, 1]).all() and pixels.sum() == 30 * int(pixels[1, 1]) > 0


@pytest.fixture
def imagenet(tmp_path):
    """What imagenet2012 says of itself once it is on this machine; returns its data_dir."""
    import tensorflow_datasets as tfds

    builder = tfds.builder("imagenet2012", data_dir=tmp_path / "sets")
    splits = [
        tfds.core.SplitInfo(name=name, shard_lengths=[4], num_bytes=0) for name in ("train", "validation", "test")
    ]
    builder.info.set_splits(tfds.core.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_path)
    return tmp_path / "sets"


def jpegs(labels):
    """Examples as imagenet2012 gives them undecoded, each of its own size."""
    random = np.random.default_rng(0)
    for number, label in enumerate(labels):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (20 + number, 30, 3)).astype(np.uint8)).save(file, "JPEG")
        yield {"image": file.getvalue(), "label": label}


@pytest.mark.filterwarnings("ignore")
def test_imagenet_keeps_its_jpeg_files(imagenet, tmp_path):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    given = {"train": list(jpegs([1, 0, 1, 2])), "validation": list(jpegs([2, 0])), "test": list(jpegs([-1, -1]))}

    def examples(self, split, decoders, **how):
        assert isinstance(decoders["image"], tfds.decode.SkipDecoding)
        signature = {"image": tf.TensorSpec((), tf.string), "label": tf.TensorSpec((), tf.int64)}
        return tf.data.Dataset.from_generator(lambda: iter(given[split]), output_signature=signature)

    given["train"][1]["image"] = odd_files.REFUSED["turned.jpg"][1]
    with tfds.testing.mock_data(as_dataset_fn=examples, data_dir=imagenet):
        made = prepare(tmp_path / "whole", "imagenet2012", download=False, seed=0, data_dir=imagenet)
        small = prepare(tmp_path / "small", "imagenet2012", download=False, seed=0, size=8, data_dir=imagenet)
        wide = prepare(tmp_path / "wide", "imagenet2012", download=False, seed=0, canvas=40, data_dir=imagenet)
        given["validation"][0]["image"] = b"no image"
        with pytest.raises(Refusal, match=r"val/n01484850/000000\.jpg is not a readable image of a known format$"):
            prepare(tmp_path / "bad", "imagenet2012", download=False, seed=0, data_dir=imagenet)
    assert made.images == small.images == wide.images == {"train": 4, "val": 2}
    assert made.classes == ("n01440764", "n01443537", "n01484850")
    assert made.sizes == ((10, 8), (20, 30), (21, 30), (22, 30), (23, 30)) and small.sizes == ((8, 8),)
    assert made.converted == small.converted == {"turned by their EXIF tag": 1}
    assert wide.sizes == ((40, 40),)
    assert (tmp_path / "whole/train/n01484850/000003.jpg").read_bytes() == given["train"][3]["image"]
    assert (tmp_path / "whole/val/n01440764/000001.jpg").read_bytes() == given["validation"][1]["image"]
    assert Image.open(tmp_path / "small/val/n01440764/000001.jpg").size == (8, 8)
    assert sorted(os.listdir(tmp_path)) == ["sets", "small", "whole", "wide"]


@pytest.mark.filterwarnings("ignore")
def test_a_mocked_imagenet_is_trees_of_jpegs(imagenet, tmp_path):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=3, data_dir=imagenet):
        made = prepare(tmp_path / "whole", "imagenet2012", download=False, seed=0, data_dir=imagenet)
    assert made.images == {"train": 3, "val": 3, "test": 3}
    for split in made.images:
        classes, table, _ = list_images(tmp_path / "whole", split)
        assert {Image.open(tmp_path / "whole" / path).format for path in table.path.tolist()} == {"JPEG"}


UNKNOWN = r"source '{}' is unknown; choose digits, folder, or the name of a tfds set"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cifar100", r"'cifar100' is not in .*; pass --download to fetch it$"),
        ("coco", r"'coco' is not image classification"),
        *(
            (name, UNKNOWN.format(name))
            for name in ("cifar1000", "cifar-10", "./cifar10", "", "mnist/none", "mnist:9.9.9")
        ),
    ],
)
def test_a_set_that_is_not_there_is_refused_in_a_line(name, told, tmp_path):
    with pytest.raises(Refusal, match=told) as caught:
        prepare(tmp_path / "c", name, download=False, seed=0, data_dir=tmp_path / "sets")
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "c").exists()
    assert name != "cifar-10" or "a tfds set, as cifar10, cifar100" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_whatever_tfds_raises_is_a_refusal(tiny_set, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(*args, **kwargs):
        raise RuntimeError("\nchecksum differs\nfor some file")

    name, data_dir = tiny_set
    made = {"seed": 0, "data_dir": data_dir}
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(Refusal, match=r"'mnist' could not be fetched \(checksum differs\)$"):
        prepare(tmp_path / "c", "mnist", download=True, **made)
    (record,) = data_dir.rglob("*train.tfrecord*")
    content = record.read_bytes()
    record.write_bytes(content[:100] + b"damage" + content[106:])
    try:
        with pytest.raises(Refusal, match=r"'tiny_scans' cannot be read \(.+\)$"):
            prepare(tmp_path / "c", name, download=False, **made)
    finally:
        record.write_bytes(content)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", fail)
    with pytest.raises(Refusal, match=r"'tiny_scans' cannot be read \(checksum differs\)$"):
        prepare(tmp_path / "c", name, download=False, **made)
