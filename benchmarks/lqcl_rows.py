"""The rows of the benchmark's tables: what each changes in a sequence's recipe, and what is searched for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.lqcl_data import ALL, PART
from lifeq_jax import Between, Part, Recipe

REFERENCE = "replay"  # the row that others are compared with: fine-tuning with replay
BOUNDS = ("joint", "joint_lsq", "float")
ABLATION = (
    "lsq_homovar",
    "cdf_ball",
    "lsq_ball_importance",
    "lsq_ball_freeze",
    "lsq_ball_distill",
    "lsq_ball_derpp",
    "blip_ball",
)
COMBINED = ("best", "climbq", "lifequant", "lsq_ball", *ABLATION)
RATE = {"stages.-1.learning_rate": Between(0.003, 0.3)}  # searched for every row


class Row(NamedTuple):
    """A row of a table."""

    says: str
    """What it is, for the table's legend."""
    changes: Mapping[str, Any] = {}
    """Dotted key -> value, of the sequence's recipe."""
    space: Mapping[str, Any] = {}
    """What is searched beside the learning rate, as of `lq.search`."""


def _method(name: str, **args: Any) -> dict[str, Any]:
    return {"method": Part(name, args)}


_STRENGTH = "method.args.strength"
_LSQ = {"weight_quantizer": Part("lsq"), "act_quantizer": Part("lsq"), "optimizer.learned_rate": 1e-3}
_LEARNED = {"optimizer.learned_rate": Between(1e-5, 1e-2)}
_BALL = {"loss": Part("ball_log_prior")}
_LIFEQUANT = _method("lifequant", loss="ball_log_prior", history="recomputed")  # the history of its paper
_FREEZE = {"oscillation": Part("freeze", {"momentum": 0.01})}
_DISTILL = {"distillation": Part("from_float")}
_BLIP = {**_method("blip"), "stages.-1.weight_bits": 32, "norm_tasks": 1, "importance_data": "train"}
_DERPP = {"method.args.alpha": Between(0.02, 2), "method.args.beta": Between(0.1, 4)}
_PRIOR = {"method.args.prior": Between(1e-10, 1e-6)}

ROWS = {
    # bounds
    "joint": Row("all images of finished tasks are replayed: bound of continual learning", {"data.csv": ALL}),
    "joint_lsq": Row("the same with LSQ, the bound of its rows", {"data.csv": ALL, **_LSQ}, _LEARNED),
    "float": Row(
        "fine-tuning with replay at 32 bits: bound of quantization",
        {"stages.-1.weight_bits": 32, "stages.-1.act_bits": 32},
    ),
    # without a method
    REFERENCE: Row("fine-tuning with replay, the reference"),
    "finetune": Row("fine-tuning without replay", {"data.replay": False}),
    # methods, all with the same replay
    "agem": Row("A-GEM", _method("agem")),
    "blip": Row(
        "BLIP, weights at the bits it gives them, norms frozen after the first task",
        _BLIP,
        _PRIOR,
    ),
    "derpp": Row("DER++", _method("derpp"), _DERPP),
    "er_ace": Row("ER-ACE", _method("er_ace"), {"method.args.full": Between(0.003, 1)}),
    "ewc": Row("EWC", _method("ewc"), {_STRENGTH: Between(1e-2, 1e3)}),
    "lwf": Row("learning without forgetting", _method("lwf"), {_STRENGTH: Between(0.1, 10)}),
    "mas": Row("memory-aware synapses", _method("mas"), {_STRENGTH: Between(1e-4, 1e1)}),
    "rwalk": Row("Riemannian walk", _method("rwalk"), {_STRENGTH: Between(1e-2, 1e3)}),
    "scp": Row("sliced Cramer preservation", _method("scp"), {_STRENGTH: Between(1e-4, 1e1)}),
    "si": Row("synaptic intelligence", _method("si"), {_STRENGTH: Between(1e-2, 1e2)}),
    # losses
    "ball": Row("BaLL (balanced softmax)", _BALL),
    "homovar": Row("HomoVar", {"loss": Part("homovar")}),
    # quantizers and oscillation control
    "lsq": Row("LSQ", _LSQ, _LEARNED),
    "lsq_dampen": Row(
        "LSQ with dampening",
        {**_LSQ, "oscillation": Part("dampen", {"momentum": 0.01})},
        {**_LEARNED, "oscillation.args.strength": Between(1e-3, 1e1)},
    ),
    "lsq_freeze": Row(
        "LSQ with freezing",
        {**_LSQ, **_FREEZE},
        {**_LEARNED, "oscillation.args.threshold_end": Between(0.005, 0.1)},
    ),
    "distill": Row(
        "distillation from the float network of the first task",
        _DISTILL,
        {"distillation.args.strength": Between(0.1, 10)},
    ),
    # the papers' own combinations
    "climbq": Row(
        "ClimbQ: CDF quantizers and HomoVar",
        {"weight_quantizer": Part("cdf"), "act_quantizer": Part("cdf_activation"), "loss": Part("homovar")},
    ),
    "lifequant": Row(
        "LifeQuant: ProxQ, BaLL, importance",
        {**_LIFEQUANT, **_BALL},
        {_STRENGTH: Between(1e-1, 1e3), "method.args.prox": Between(1e-6, 1e-3)},
    ),
    # what no paper has
    "lsq_ball": Row("LSQ and BaLL, the parts that `best` kept", {**_LSQ, **_BALL}, _LEARNED),
    "best": Row(
        "the combination that a search over all of these found",
        {"optimizer.learned_rate": 1e-3},
        {
            "method": [
                "finetune",
                "derpp",
                ("er_ace", {"full": 0.1}),
                ("lifequant", {"history": "recomputed"}),
                ("ewc", {"strength": 1.0}),
                "lwf",
            ],
            "loss": ["cross_entropy", "ball_log_prior", "homovar"],
            "weight_quantizer": ["proxq", "lsq"],
            "act_quantizer": ["activation", "lsq"],
            "oscillation": ["none", ("freeze", {"momentum": 0.01})],
            "distillation": ["none", "from_float"],
            "reestimation_batches": [0, 20],
        },
    ),
    # the ablation of lsq_ball, beside the rows lsq and ball: another part in the place of one, or one more
    "lsq_homovar": Row("HomoVar in the place of BaLL", {**_LSQ, "loss": Part("homovar")}, _LEARNED),
    "cdf_ball": Row(
        "ClimbQ's CDF quantizers in the place of LSQ",
        {"weight_quantizer": Part("cdf"), "act_quantizer": Part("cdf_activation"), **_BALL},
    ),
    "lsq_ball_importance": Row(
        "LSQ and BaLL with LifeQuant's importance",
        {**_LSQ, **_LIFEQUANT, **_BALL},
        {**_LEARNED, _STRENGTH: Between(1e-1, 1e3), "method.args.prox": Between(1e-6, 1e-3)},
    ),
    "lsq_ball_freeze": Row(
        "LSQ and BaLL with freezing",
        {**_LSQ, **_BALL, **_FREEZE},
        {**_LEARNED, "oscillation.args.threshold_end": Between(0.005, 0.1)},
    ),
    "lsq_ball_distill": Row(
        "LSQ and BaLL with distillation from the float network of the first task",
        {**_LSQ, **_BALL, **_DISTILL},
        {**_LEARNED, "distillation.args.strength": Between(0.1, 10)},
    ),
    "lsq_ball_derpp": Row("LSQ and BaLL with DER++", {**_LSQ, **_BALL, **_method("derpp")}, {**_LEARNED, **_DERPP}),
    "blip_ball": Row("BLIP with BaLL", {**_BLIP, **_BALL}, _PRIOR),
}


def row_recipe(recipe: Recipe, row: str, bits: int = 4) -> Recipe:
    """The recipe of a row before anything has been searched for it: that of a sequence, with weights and activations at
    some bits, and with the row's changes."""
    at_bits = {"stages.-1.weight_bits": bits, "stages.-1.act_bits": bits, "stages.-1.name": f"w{bits}a{bits}"}
    changes = dict(ROWS[row].changes)
    if changes.get("data.csv") == ALL:
        changes["data.csv"] = recipe.data.csv.removesuffix(PART) + ALL
    return recipe.replace(at_bits).replace(changes)
