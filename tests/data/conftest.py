"""Small image trees, made fresh for each test that writes into them."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_tree(tmp_path):
    """make_tree({"train/a": 3, ...}, shape, kind) writes random images and returns the root."""

    def make(folders, shape=(8, 8, 3), kind="png", root="images"):
        random = np.random.default_rng(0)
        for folder, number in folders.items():
            place = tmp_path / root / folder
            place.mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(0, 256, shape).astype(np.uint8)
                image = Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels)
                image.save(place / f"{index:04d}.{kind}")
        return tmp_path / root

    return make


@pytest.fixture
def write_csv(tmp_path):
    """write_csv(text, name) -> the path of a CSV file with that text."""

    def write(text, name="rows.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
