"""3-bit weights and activations on ImageNet: LSQ with iterative weight freezing.

    lifeq-jax data prepare  --root data/imagenet --source imagenet2012   (or put the class folders there yourself)
    lifeq-jax data lifelong --root data/imagenet --csv data/imagenet_1/imagenet --tasks 1
    lifeq-jax train oscillations/mobilenet_v2_imagenet

Dampening: --oscillation.name dampen --optimizer.weight-decay 2.5e-5 (EfficientNet-Lite0: with its own decay)
4 bits:    --stages.0.name w4a4 --stages.0.weight-bits 4 --stages.0.act-bits 4 --stages.0.learning-rate 0.0033
           --optimizer.weight-decay 5e-5, with freezing also --oscillation.args.threshold-end 0.01
           (EfficientNet-Lite0: 1e-4 and 0.015)
LSQ alone: --oscillation.name track

They start from float weights, a file with torchvision's or timm's state dict of the network, --start FILE
(.safetensors, .pth).

Source: Overcoming Oscillations in QAT (ICML 2022). Paper, top-1 in %, as a third party transcribed its tables:
                     3/3 bits: freezing, dampening, LSQ alone    4/4 bits
MobileNetV2                        67.6       67.8       65.3    70.6  70.5  69.5
MobileNetV3-Small                  58.9       59.0       52.0    63.6  63.7  61.0
EfficientNet-Lite0                 71.0       71.1       69.7    73.5  73.5  72.3
ResNet-18: in the original program; no published figure is known to us.
Hyper-parameters: the original program's scripts for MobileNetV2 and EfficientNet-Lite0 (whose freezing was never active
there); it has none for the other two, which have those of MobileNetV2.
Ours: results/targets.csv."""

from lifeq_jax import Optimizer, Part, Recipe, Stage, datasets

mobilenet_v2_imagenet = Recipe(
    name="oscillations_mobilenet_v2_imagenet",
    data=datasets.imagenet(csv="data/imagenet_1/imagenet", num_tasks=1, replay=False, image=(248, 248, 3)),
    model=Part("mobilenet_v2"),
    stages=(Stage("w3a3", weight_bits=3, act_bits=3, epochs=90, learning_rate=0.01),),
    weight_quantizer=Part("lsq"),
    act_quantizer=Part("lsq"),
    quant_setup="LSQ_paper",
    oscillation=Part("freeze", {"threshold": 0.1, "threshold_end": 0.011}),
    reestimation_batches=50,
    optimizer=Optimizer(weight_decay=2.5e-5, schedule="cosine"),
    start="weights/mobilenet_v2.safetensors",
)
"""LSQ with freezing: MobileNetV2 at 3 bits, ImageNet"""

mobilenet_v3_small_imagenet = mobilenet_v2_imagenet.replace(
    {
        "name": "oscillations_mobilenet_v3_small_imagenet",
        "model": Part("mobilenet_v3_small"),
        "start": "weights/mobilenet_v3_small.safetensors",
    }
)
"""LSQ with freezing: MobileNetV3-Small at 3 bits, ImageNet"""

resnet18_imagenet = mobilenet_v2_imagenet.replace(
    {
        "name": "oscillations_resnet18_imagenet",
        "model": Part("resnet18"),
        "start": "weights/resnet18.safetensors",
    }
)
"""LSQ with freezing: ResNet-18 at 3 bits, ImageNet"""

efficientnet_lite0_imagenet = mobilenet_v2_imagenet.replace(
    {
        "name": "oscillations_efficientnet_lite0_imagenet",
        "model": Part("efficientnet_lite0"),
        "stages.0.epochs": 50,
        "oscillation.args.threshold_end": 0.005,
        "optimizer.weight_decay": 5e-5,
        "start": "weights/efficientnet_lite0.safetensors",
    }
)
"""LSQ with freezing: EfficientNet-Lite0 at 3 bits, ImageNet"""
