"""Where prepared images come from: scikit-learn's digits, a folder, a tfds data set."""

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import ALL_MODES, BROKEN, FORMATS, first_line, open_image
from lifeq_jax.data.sampling import stratified
from lifeq_jax.data.tables import SUFFIXES

TFDS_SPLITS = {"train": "train", "test": "test", "validation": "val"}
KEPT = ("imagenet2012",)  # tfds sets of JPEG files, which stay as they are
PROBE = ("storage.googleapis.com", 443)
PROBE_SECONDS = 3.0


class Picture(NamedTuple):
    """One image and the place it takes under the root."""

    name: str  # "<split>/<class>/<file>"
    image: Image.Image
    content: bytes | None = None  # the file itself, where it is to stay as it is; `image` may be undecoded then


class Source(NamedTuple):
    """Images in a fixed order."""

    total: int  # at most so many
    images: Callable[[], Iterator[Picture]]


def digits(test_fraction: float, seed: int) -> Source:
    """The 1,797 scans of scikit-learn, 8x8 gray, 0..16 scaled to 0..255; split by class and seed.

    The file name is the scan's index in the set."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    pixels = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    test = stratified(scans.target, test_fraction, seed)

    def images() -> Iterator[Picture]:
        for index, (scan, label, held) in enumerate(zip(pixels, scans.target, test, strict=True)):
            yield Picture(f"{'test' if held else 'train'}/{label}/{index:04d}.png", Image.fromarray(scan))

    return Source(len(pixels), images)


def folder(root: Path) -> Source:
    """Every image under `root`, at `<split>/<class>/<file>` or deeper, sorted; opened one by one.

    CMYK becomes color. Refuses a missing or empty tree, a class folder without images, an image outside a
    class folder, and, when its turn comes, a file that is no whole image."""
    files = _image_tree(Path(root))

    def images() -> Iterator[Picture]:
        for file in files:
            yield Picture(file, open_image(Path(root) / file, ALL_MODES))

    return Source(len(files), images)


def tfds_set(name: str, *, download: bool, data_dir: Path | None) -> Source:
    """The train, test and validation splits of a tfds data set with an 8-bit `image` and a class `label`.

    Images without a label (-1, as in ImageNet's test split) are left out. The sets in KEPT give their JPEG files.
    Refuses an unknown name, a set of another kind, and a set that is not on this machine: at once where
    `download` is off or the network does not answer within 3 seconds."""
    from lifeq_jax.data.pipeline import tensorflow

    tensorflow()
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
    except tfds.core.registered.DatasetNotFoundError:
        raise Refusal(f"source {name!r} is unknown; choose digits, folder, or the name of a tfds set") from None
    _check_features(name, builder.info.features)
    if not builder.is_prepared():
        _fetch(name, builder, download)
    splits = [split for split in TFDS_SPLITS if split in builder.info.splits]
    total = sum(builder.info.splits[split].num_examples for split in splits)
    return Source(total, lambda: _examples(tfds, builder, splits))


def _examples(tfds: Any, builder: Any, splits: list[str]) -> Iterator[Picture]:
    name_of = builder.info.features["label"].int2str
    decoders = {"image": tfds.decode.SkipDecoding()} if builder.name in KEPT else None
    for split in splits:
        examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, decoders=decoders))
        for index, example in enumerate(examples):
            if example["label"] >= 0:
                label = name_of(example["label"]).replace("/", "_")
                yield _picture(f"{TFDS_SPLITS[split]}/{label}/{index:06d}", example["image"])


def _picture(place: str, image: np.ndarray | bytes) -> Picture:
    """The picture of pixels, or of the content of a JPEG file; `place` is its name without the suffix."""
    if not isinstance(image, bytes):
        return Picture(f"{place}.png", Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
    try:
        return Picture(f"{place}.jpg", Image.open(io.BytesIO(image), formats=FORMATS), image)
    except BROKEN:
        raise Refusal(f"{place}.jpg is not a readable image") from None


def _check_features(name: str, features: Any) -> None:
    image, label = (dict(features.items()).get(key) for key in ("image", "label"))
    classes = getattr(label, "num_classes", None)
    if image is None or len(image.shape or ()) != 3 or image.np_dtype != np.uint8 or not classes:
        raise Refusal(f"tfds set {name!r} is not image classification with an 8-bit `image` and a class `label`")


def _fetch(name: str, builder: Any, download: bool) -> None:
    if not download:
        raise Refusal(f"tfds set {name!r} is not in {builder.data_path}; pass --download to fetch it")
    if not network_answers():
        raise Refusal(f"tfds set {name!r} is not in {builder.data_path} and the network does not answer")
    try:
        builder.download_and_prepare()
    # Each set brings its own download code, which fails with whatever its libraries raise.
    except Exception as error:
        raise Refusal(f"tfds set {name!r} could not be fetched: {first_line(error)}") from None


def network_answers(seconds: float = PROBE_SECONDS) -> bool:
    """Whether the https proxy of the environment, or else a public host, accepts a connection in time."""
    proxy = urlsplit(getproxies().get("https", ""))
    address = (proxy.hostname, proxy.port or 80) if proxy.hostname else PROBE
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
            answered.set()
        except OSError:
            return

    # A thread, because the time-out of a socket does not bound the name look-up.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(seconds)
    return answered.is_set()


def _image_tree(root: Path) -> list[str]:
    files: list[str] = []
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(place).relative_to(root)
        images = [name for name in sorted(names) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        if images and len(inside.parts) < 2:
            raise Refusal(f"{Path(place) / images[0]} is not in a class folder; expected <split>/<class>/<file>")
        if not folders and not images and Path(place) != root:
            raise Refusal(f"{place} has no images; expected files ending in {', '.join(SUFFIXES)}")
        files += [(inside / name).as_posix() for name in images]
    if not files:
        raise Refusal(f"{root} has no images; expected <split>/<class>/<file> with {', '.join(SUFFIXES)}")
    return files
