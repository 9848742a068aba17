"""The whole set as uint8 on the device, gathered and augmented inside the compiled step."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.memory import host_bytes
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.data.augment import crop_and_flip, normalize
from lifeq_jax.data.decode import decode
from lifeq_jax.data.inputs import Feed, Input, batch_of, feed_of
from lifeq_jax.data.order import ImageSpec, Plan, freedom
from lifeq_jax.data.tables import Catalog, Rows

INPUTS = ("auto", "pipeline", "resident")


def resident(root: Path, known: Catalog, spec: ImageSpec) -> Input:
    """Decodes every image of the catalog once and keeps it on the device: n*h*w*c bytes.

    Refuses a file that is unreadable or not of the size `spec.stored`."""
    images = jnp.asarray(decode(root, known.paths, spec))
    return Input(images, _feeds, partial(_assemble, spec=spec), _whole)


def choose_input(name: str, num_images: int, spec: ImageSpec, share: float = 0.5) -> str:
    """Resolves "auto": "resident" where the uint8 set takes at most `share` of the memory, else "pipeline".

    Images of several sizes are no array, so they go through the pipeline. Refuses another name than auto,
    pipeline, resident, "resident" with `spec.resize`, and a spec that does not fit together."""
    freedom(spec)
    check_choice(INPUTS, name, "input")
    if spec.resize:
        if name == "resident":
            raise Refusal(f"input={name!r} needs images of one size, resize={spec.resize!r} any; choose auto, pipeline")
        return "pipeline"
    if name != "auto":
        return name
    height, width, channels = spec.stored
    return "resident" if num_images * height * width * channels <= share * memory_bytes() else "pipeline"


def memory_bytes() -> int:
    """Memory of the first device in bytes; on a CPU, which does not report it, the host's available memory."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024 * int(fields["MemAvailable"].split()[0])
    return host_bytes()


def _feeds(rows: Rows, plan: Plan, start_step: int) -> Iterator[Feed]:
    for step in range(start_step, len(plan.row)):
        yield feed_of(rows.index[plan.row[step]], rows, plan, step)


def _whole(rows: Rows, plan: Plan) -> Feed:
    return feed_of(rows.index[plan.row], rows, plan, slice(None))


def _assemble(images: jax.Array, feed: Feed, *, spec: ImageSpec) -> Batch:
    image = crop_and_flip(images[feed.image], feed.offset, feed.flip, spec)
    return batch_of(normalize(image, spec, feed.task), feed)
