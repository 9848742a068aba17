"""The page of build.py in headless Chromium: logits of test images beside NumPy's, and digits drawn with the mouse.

    python docs/browser/check.py runs/lifequant_resnet20_digits/seed0/export/w4a4 digits.html data/digits/test/*/*.png

Needs npm and Chromium (the variable CHROMIUM, by default /usr/bin/chromium). Ends with 1 where
something differs. Writes docs/browser/page.png, a picture of the page."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lifeq_jax.export.image import read_pixels
from lifeq_jax.export.manifest import read_exported
from lifeq_jax.export.runtime import numpy_runtime

HERE = Path(__file__).parent
PACKAGE = "puppeteer-core@24"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="folder that `lifeq-jax export` has written")
    parser.add_argument("page", type=Path, help="HTML file that build.py has made of it")
    parser.add_argument("images", type=Path, nargs="+", help="image files")
    options = parser.parse_args()
    exported = read_exported(options.export)
    pixels = np.stack([read_pixels(path, exported.about.input) for path in options.images])
    logits = numpy_runtime(exported)(pixels, 0)
    cases = [
        {"pixels": image.ravel().tolist(), "logits": row.tolist()} for image, row in zip(pixels, logits, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix", folder, PACKAGE]
        subprocess.run(install, check=True)
        (Path(folder) / "cases.json").write_text(json.dumps(cases))
        shutil.copy(HERE / "check.mjs", folder)  # node looks for packages beside it
        words = ["node", "check.mjs", str(options.page.resolve()), "cases.json", str((HERE / "page.png").resolve())]
        return subprocess.run(words, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
