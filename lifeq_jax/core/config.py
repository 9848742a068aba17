"""The schema of a recipe: what it may say, checked when it is made. Only train/build.py reads the values."""

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lifeq_jax.core.files import read_json
from lifeq_jax.core.refusal import Refusal

Scalar = bool | int | float | str
types_of: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
"""{field: type} of a record, kept, since evaluating annotations takes longer than all checks"""


@dataclass(frozen=True)
class Checked:
    """A record that refuses fields of a wrong type or outside its LIMITS (lowest and highest value, inclusive)."""

    LIMITS: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self) -> None:
        hints = types_of(type(self))
        for item in dataclasses.fields(self):
            key = f"{type(self).__name__.lower()}.{item.name}"
            value = getattr(self, item.name)
            check_type(key, value, hints[item.name])
            low, high = self.LIMITS.get(item.name, (-math.inf, math.inf))
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not low <= number <= high:
                    raise Refusal(f"{key}={value!r} is out of range; choose from {low:g} to {high:g}")


@dataclass(frozen=True)
class Part(Checked):
    """One row of a table (MODELS, METHODS, QUANTIZERS, LOSSES) and the arguments that differ from its defaults."""

    name: str
    """Row of the table."""
    args: dict[str, Scalar] = field(default_factory=dict)
    """Arguments of the row's maker."""


@dataclass(frozen=True)
class Data(Checked):
    """Images, the CSV files of the tasks, and how batches are made of them."""

    LIMITS = {
        "num_tasks": (1, 10_000), "num_classes": (2, 1_000_000), "image": (1, 4096), "crop": (1, 4096), "pad": (0, 512),
        "std": (1e-6, 1e6), "validation": (0, 0.9), "batch_size": (1, 65_536), "device_share": (0, 1),
    }  # fmt: skip

    root: str
    """Folder of the images, <root>/<split>/<class>/<file>."""
    csv: str
    """Prefix of the task files: <csv>_train0.csv, <csv>_test0.csv, <csv>_replay0.csv ...; or, for a single task, its
    train CSV, e.g. data/cifar10_lt/cifar10_train10.csv, with cifar10_test.csv in the same folder."""
    num_tasks: int
    """Tasks in the sequence."""
    num_classes: int
    """Outputs of the network: classes of the shared head, or of the heads of all tasks together."""
    image: tuple[int, int, int]
    """Height, width and channels of the stored images; with resize, evaluation resizes the short side to it."""
    crop: tuple[int, int]
    """Height and width the network sees."""
    pad: int
    """Zero padding on each side before the random crop."""
    flip: bool
    """Random horizontal flip in training."""
    mean: tuple[float, ...]
    """Mean of each channel, pixels scaled to 0..1; or of each channel of each task, task after task."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in the same order as mean."""
    resize: Literal["", "random_resized_crop"] = ""
    """random_resized_crop, for images of several sizes (ImageNet): training scales a random part to `crop`; evaluation
    scales the short side to `image` and takes the center crop. Empty: all files have the size `image`."""
    batch_size: int = 128
    """Images in a batch."""
    heads: Literal["shared", "per_task"] = "shared"
    """shared: all tasks share the outputs, and a label is an output. per_task: each task has its own outputs, one for
    each class of its train CSV, and evaluation knows the task (task-incremental)."""
    permuted: bool = False
    """Every task uses the images of task 0's CSV files, with the pixels permuted in an order drawn from seed."""
    replay: bool = True
    """Task t trains on train_t plus replay_0 .. replay_{t-1}; false: on train_t alone."""
    validation: float = 0.0
    """Share of the training images held out, chosen by a seeded hash of the path."""
    evaluate_on: Literal["test", "validation"] = "test"
    """What the accuracy matrix is measured on: validation for choosing hyper-parameters, test for reporting."""
    input: Literal["auto", "resident", "pipeline"] = "auto"
    """resident: all images on the device; pipeline: tf.data; auto: resident where they fit."""
    device_share: float = 0.5
    """Share of the device's memory that input=auto gives to the images."""
    classes: tuple[str, ...] = ()
    """Name of every output, for tables, plots and predictions; empty: their numbers."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of every output."""
        return self.classes or tuple(map(str, range(self.num_classes)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.classes) not in (0, self.num_classes):
            raise Refusal(f"data.classes has {len(self.classes)} names; num_classes={self.num_classes} need one each")
        channels = self.image[2]
        if len(self.mean) != len(self.std) or len(self.mean) not in (channels, channels * self.num_tasks):
            raise Refusal(
                f"data.mean={self.mean!r} and data.std={self.std!r} need {channels} values, one a channel, or as many "
                "for each task"
            )
        if self.permuted and (self.image[:2] != self.crop or self.pad or self.flip or self.resize):
            raise Refusal("data.permuted=True needs whole images: crop as image, pad 0, no flip, no resize")
        if any(crop > side + 2 * self.pad for crop, side in zip(self.crop, self.image[:2], strict=True)):
            raise Refusal(f"data.crop={self.crop!r} is larger than the images {self.image[:2]!r} with pad={self.pad}")
        if self.evaluate_on == "validation" and self.validation == 0:
            raise Refusal("data.evaluate_on='validation' needs data.validation above 0")


@dataclass(frozen=True)
class Stage(Checked):
    """Training at one pair of bit-widths. A stage starts from the parameters that the stage before ended with."""

    LIMITS = {"tasks": (0, 10_000), "epochs": (1, 1_000_000), "learning_rate": (0, 1e6)}

    name: str
    """Name of the stage, also of its checkpoint folder."""
    weight_bits: int
    """Bits of the quantized weights, 1 to 8, or 32 for floating point."""
    act_bits: int
    """Bits of the quantized activations, 1 to 8, or 32 for floating point."""
    epochs: int
    """Epochs of each task."""
    learning_rate: float
    """Learning rate at the start of each task."""
    tasks: int = 0
    """How many of the first tasks this stage trains on; 0: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("weight_bits", "act_bits"):
            if getattr(self, key) not in (*range(1, 9), 32):
                raise Refusal(f"stage.{key}={getattr(self, key)!r} is not a bit-width; choose from 1 to 8, or 32")
        if not self.name or not self.name.replace("_", "").replace("-", "").isalnum():
            raise Refusal(f"stage.name={self.name!r} names a folder; use letters, digits, '-' and '_'")


@dataclass(frozen=True)
class Optimizer(Checked):
    """Stochastic gradient descent or Adam. Its state is reset when a task begins."""

    LIMITS = {
        "momentum": (0, 1), "weight_decay": (0, 1), "milestones": (0, 1), "factor": (0, 1), "learned_rate": (0, 1e6),
        "patience": (0, 1_000_000), "patience_factor": (1, 1e6), "smallest_rate": (0, 1e6), "max_norm": (0, 1e9),
        "epsilon": (0, 1e6),
    }  # fmt: skip

    kind: Literal["sgd", "adam"] = "sgd"
    """sgd, or adam with torch's constants 0.9 and 0.999."""
    momentum: float = 0.9
    """For sgd."""
    epsilon: float = 1e-8
    """For adam: added to the square root of the second moment."""
    weight_decay: float = 1e-4
    """L2 coefficient, added to the gradient."""
    schedule: Literal["constant", "step", "cosine", "linear"] = "step"
    """Learning rate over a task."""
    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    """For step: shares of the task after which the learning rate is multiplied by factor."""
    factor: float = 0.1
    """For step."""
    patience: int = 0
    """After so many epochs without a lower validation loss, the rate is divided by patience_factor and momentum is
    reset; the task ends when the rate falls below smallest_rate. 0: off. Needs selection=lowest_loss."""
    patience_factor: float = 3.0
    """For patience."""
    smallest_rate: float = 1e-4
    """For patience."""
    max_norm: float = 0.0
    """Gradients of a larger global norm (the 2-norm over all parameters) are scaled down to it: gradients of the loss
    plus the method's penalty, before weight decay and momentum. 0: off."""
    learned_rate: float = 1e-5
    """Learning rate, at the start of each task, of learned scales and zero points: Adam, no decay, the same
    schedule."""


@dataclass(frozen=True)
class Recipe(Checked):
    """A whole experiment: data, network, stages, loss, method."""

    LIMITS = {
        "seed": (0, 2**31 - 1), "evaluate_every": (0, 1_000_000), "checkpoint_every": (1, 1_000_000),
        "calibration_batches": (1, 1_000_000), "reestimation_batches": (0, 1_000_000),
        "norm_tasks": (0, 10_000), "importance_batches": (0, 1_000_000),
    }  # fmt: skip

    name: str
    """Name in reports and of the default run folder."""
    data: Data
    model: Part
    stages: tuple[Stage, ...]
    weight_quantizer: Part = field(default_factory=lambda: Part("proxq"))
    act_quantizer: Part = field(default_factory=lambda: Part("activation"))
    quant_setup: str = "convolutions"
    """Where quantizers stand and which layers have bits of their own: row of SETUPS."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the operands of convolutions and matrix products before the classifier; sums, parameters, statistics,
    quantizers and losses stay float32."""
    calibration_batches: int = 1
    """Training batches that give learned quantizers their first ranges, before the first step of a stage."""
    oscillation: Part = field(default_factory=lambda: Part("none"))
    """What is done about weights that oscillate between two integers: row of OSCILLATIONS."""
    reestimation_batches: int = 0
    """Training batches over which batch-norm statistics are averaged before every evaluation and before the last
    checkpoint of a task; 0: the running averages stay."""
    loss: Part = field(default_factory=lambda: Part("cross_entropy"))
    """Training loss: row of LOSSES."""
    method: Part = field(default_factory=lambda: Part("finetune"))
    distillation: Part = field(default_factory=lambda: Part("none"))
    """What stages below 32 bits learn from the float network before them, beside the method: row of DISTILLATIONS."""
    importance_data: Literal["auto", "replay", "train"] = "auto"
    """What a method sees of finished tasks: their replay rows or all their training rows, never test data. auto: replay
    rows where the tasks have such (data.replay), else training rows."""
    importance_batches: int = 0
    """How many batches a method sees of each finished task, rows drawn at random; 0: all rows."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    selection: Literal["last", "best", "lowest_loss"] = "last"
    """Which epoch of a task gives its parameters: the last; the one with the best accuracy on the validation images of
    all tasks so far; or the one with the lowest cross-entropy on the task's own validation images."""
    norm_tasks: int = 0
    """Batch norm updates its running statistics in the first norm_tasks tasks only; 0: in all tasks."""
    start: str = ""
    """What the first stage starts from: a run folder, for its final parameters, or a file of float weights in torch's
    names (.safetensors, .pth, .pt). {seed} in it stands for the seed; empty: random initialization."""
    seed: int = 0
    """Seed of initialization, data order, augmentation and validation split."""
    parallel: Literal["none", "pmap", "mesh"] = "none"
    """Devices that share each batch. none: one device; pmap: all of one process; mesh: all of all processes."""
    sync_norm: bool = True
    """On several devices, batch norm normalizes by the whole batch, as on one device; false: by each device's part."""
    evaluate_every: int = 1
    """Epochs between evaluations of all tasks; 0: only at the end of a task."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; one is always written at the end of a task."""
    keep: Literal["last", "task"] = "last"
    """Networks that stay in the run folder: of every stage the last, or also that of the end of every task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise Refusal("recipe.stages=() is empty; name at least one stage")
        if len({stage.name for stage in self.stages}) != len(self.stages):
            raise Refusal(f"recipe.stages have repeated names: {', '.join(stage.name for stage in self.stages)}")
        for stage in self.stages:
            if stage.tasks > self.data.num_tasks:
                raise Refusal(
                    f"stage.tasks={stage.tasks} of {stage.name!r} exceeds data.num_tasks={self.data.num_tasks}"
                )
        if self.selection != "last" and self.data.validation == 0:
            raise Refusal(f"recipe.selection={self.selection!r} needs data.validation above 0; test data never selects")
        if self.optimizer.patience and self.selection != "lowest_loss":
            raise Refusal(f"optimizer.patience={self.optimizer.patience} needs recipe.selection='lowest_loss'")
        if self.importance_data == "replay" and not self.data.replay:
            raise Refusal("recipe.importance_data='replay' needs data.replay; choose importance_data='auto' or 'train'")

    def replace(self, values: Mapping[str, Any]) -> "Recipe":
        """A copy of this recipe with other values at some dotted keys; keys are read as by `replaced`.

        Args:
            values: {key: value}, e.g. {"stages.2.weight_bits": 3}; stages are numbered from 0, or from the end by -1.

        Returns:
            The new recipe.

        Raises:
            Refusal: a key is unknown, or a value is not one that a recipe may have.

        Example:
            >>> changed = recipe.replace({"method": Part("ewc", {"strength": 10.0}), "stages.-1.weight_bits": 3})
            >>> changed.method.name, changed.stages[-1].weight_bits
            ('ewc', 3)
        """
        return replaced(self, values)


def check_type(key: str, value: Any, kind: Any) -> None:
    """Refuses a value that is not of the annotated type. An int passes for a float; a bool for no number."""
    if not _fits(value, kind):
        expected = getattr(kind, "__name__", str(kind)) if get_origin(kind) is None else str(kind)
        raise Refusal(f"{key}={value!r} is not of type {expected.replace('typing.', '')}")


def _fits(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in args and type(value) in {type(arg) for arg in args}
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if origin is tuple:
        kinds = (args[0],) * len(value) if isinstance(value, tuple) and args[-1] is Ellipsis else args
        return (
            isinstance(value, tuple)
            and len(value) == len(kinds)
            and all(_fits(item, item_kind) for item, item_kind in zip(value, kinds, strict=True))
        )
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # not NaN
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def to_json(config: Checked) -> str:
    """The record as JSON text; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def digest(recipe: Any) -> str:
    """Eight hexadecimal digits that stand for a recipe, of images or of games, whatever its seed."""
    return hashlib.sha256(to_json(dataclasses.replace(recipe, seed=0)).encode()).hexdigest()[:8]


def flatten(plain: Any, key: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries and lists by dotted key: {"a": [{"b": 1}]} -> {"a.0.b": 1}."""
    if not isinstance(plain, dict | list | tuple):
        return {key: plain}
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    return {name: leaf for k, v in items for name, leaf in flatten(v, f"{key}.{k}" if key else str(k)).items()}


R = TypeVar("R", bound=Checked)


def read_recipe(path: Path) -> Recipe:
    """The recipe, of image tasks, in a run folder's config.json. Refuses a missing or damaged file, unknown keys and
    values that a recipe may not have."""
    plain = read_config(path)
    if "games" in plain:
        raise Refusal(f"{path}: the tasks of this run are games, and images are wanted")
    return recipe_of(plain, Recipe, path)


def read_config(path: Path) -> dict[str, Any]:
    """What a run folder's config.json holds. Refuses a missing file, and one that is not a JSON object."""
    plain = read_json(path, f"is {path.parent} a run folder?")
    if not isinstance(plain, dict):
        raise Refusal(f"{path}: recipe={plain!r} is not an object with keys")
    return plain


def recipe_of(plain: dict[str, Any], kind: type[R], path: Path) -> R:
    """The record that `to_json` wrote to `path`. Refuses as `read_recipe`."""
    try:
        return _from_plain(kind, plain, "recipe")
    except (Refusal, RecursionError) as error:
        raise Refusal(f"{path}: {error}") from None


def replaced(config: R, values: Mapping[str, Any]) -> R:
    """`config` with other values at some dotted keys: {"stages.2.weight_bits": 3, "method.name": "ewc"}.

    "-" in a key is read as "_", and a list as a tuple. Stages are numbered from 0, or from the end by -1, -2, ... A new
    name of a Part drops the arguments of the old one. Refuses an unknown key, and values that the records refuse."""
    return _with(config, type(config), [(_parts(key), value) for key, value in values.items()], "recipe")


def kind_of(config: Checked, key: str) -> tuple[Any, Any]:
    """(annotated type, value) at a dotted key. For an argument of a Part, the type is that of its value, or Scalar
    where the argument is not set. Refuses an unknown key."""
    value: Any = config
    kind: Any = type(config)
    where = "recipe"
    for name in _parts(key):
        value, kind = _child(value, kind, name, where)
        where = f"{where}.{name}"
    return kind, value


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part if part.lstrip("-").isdecimal() else part.replace("-", "_") for part in key.split("."))


def _child(value: Any, kind: Any, name: str, where: str) -> tuple[Any, Any]:
    """(value, type) that a record, dict or tuple holds under a name."""
    if isinstance(value, Checked):
        names = sorted(item.name for item in dataclasses.fields(value))
        if name not in names:
            raise Refusal(f"{where}.{name} is an unknown key; choose from {', '.join(names)}")
        return getattr(value, name), types_of(type(value))[name]
    if isinstance(value, dict):
        return value.get(name), type(value[name]) if name in value else get_args(kind)[1]
    if isinstance(value, tuple):
        if not name.lstrip("-").isdecimal() or not -len(value) <= int(name) < len(value):
            raise Refusal(f"{where}.{name} is an unknown key; choose a number from 0 to {len(value) - 1}")
        kinds = get_args(kind)
        return value[int(name)], kinds[0] if kinds[-1] is Ellipsis else kinds[int(name)]
    raise Refusal(f"{where}.{name} is an unknown key: {where} has none of its own")


def _with(value: Any, kind: Any, changes: Sequence[tuple[tuple[str, ...], Any]], where: str) -> Any:
    """`value` with changes, each (parts of a key, new value); a key without parts replaces `value` itself."""
    inside: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
    for parts, new in changes:
        if parts:
            inside.setdefault(parts[0], []).append((parts[1:], new))
        else:
            value = _value(kind, new, where)
    if isinstance(value, Part) and "name" in inside and (name := inside.pop("name")[-1][1]) != value.name:
        value = Part(name)
    new = {name: _with(*_child(value, kind, name, where), own, f"{where}.{name}") for name, own in inside.items()}
    if isinstance(value, Checked):
        return dataclasses.replace(value, **new) if new else value
    if isinstance(value, tuple):
        numbered = {int(name) % len(value): item for name, item in new.items()}
        return tuple(numbered.get(number, item) for number, item in enumerate(value))
    return value | new if new else value


def _from_plain(kind: type[R], plain: Any, key: str) -> R:
    if not isinstance(plain, dict):
        raise Refusal(f"{key}={plain!r} is not an object with keys")
    hints = types_of(kind)
    names = {item.name for item in dataclasses.fields(kind)}
    for name in plain:
        if name not in names:
            raise Refusal(f"{key}.{name} is an unknown key; choose from {', '.join(sorted(names))}")
    try:
        return kind(**{name: _value(hints[name], value, f"{key}.{name}") for name, value in plain.items()})
    except TypeError as error:
        raise Refusal(f"{key}: {error}") from None


def _value(kind: Any, value: Any, key: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Checked) and not isinstance(value, kind):
        return _from_plain(kind, value, key)
    if get_origin(kind) is tuple and isinstance(value, list):
        args = get_args(kind)
        kinds = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_value(item_kind, item, key) for item_kind, item in zip(kinds, value, strict=True))
        return tuple(value)  # which the record refuses
    return value
