"""One HTML file in which an exported network runs: the page, the network, and onnxruntime-web from npm.

    python docs/browser/build.py runs/lifequant_resnet20_digits/seed0/export/w4a4 --out digits.html

Needs npm, which is asked for one package. For networks that read gray images of one task."""

import argparse
import base64
import json
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"
RUNTIME, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="folder that `lifeq-jax export` has written, with model.onnx")
    parser.add_argument("--out", type=Path, default=Path("page.html"), help="the HTML file")
    options = parser.parse_args()
    options.out.write_text(page(options.export))
    print(f"{options.out}: {options.out.stat().st_size:,} bytes; open it in a browser")


def page(export: Path) -> str:
    """The content of the file. Ends the program where the network is not one for this page."""
    manifest, model = json.loads((export / "manifest.json").read_text()), (export / "model.onnx").read_bytes()
    if manifest["input"]["size"][2] != 1 or len(manifest["input"]["mean"]) != 1 or manifest["heads"]:
        raise SystemExit(f"{export}: this page draws gray images of one task")
    with tempfile.TemporaryDirectory() as folder:
        install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix", folder, PACKAGE]
        subprocess.run(install, check=True)
        dist = Path(folder) / "node_modules" / "onnxruntime-web" / "dist"
        runtime, wasm = (dist / RUNTIME).read_bytes(), (dist / WASM).read_bytes()
    parts = {
        "NAME": f"{manifest['run']['name']}, {manifest['run']['stage']}",
        "BYTES": f"{len(model):,}",
        "MANIFEST": json.dumps({key: manifest[key] for key in ("input", "classes")}),
        "RUNTIME": base64.b64encode(runtime).decode(),
        "MODEL": base64.b64encode(model).decode(),
        "WASM": base64.b64encode(wasm).decode(),
    }
    text = (Path(__file__).parent / "page.html").read_text()
    for name, part in parts.items():
        text = text.replace(f"__{name}__", part)
    return text


if __name__ == "__main__":
    main()
