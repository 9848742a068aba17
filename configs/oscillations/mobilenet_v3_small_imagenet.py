"""MobileNetV3-Small with 3-bit weights and activations on ImageNet: LSQ with iterative weight freezing.

    lifeq-jax data prepare  --root data/imagenet --source imagenet2012   (or put the class folders there yourself)
    lifeq-jax data lifelong --root data/imagenet --csv data/imagenet_1/imagenet --tasks 1
    lifeq-jax train configs/oscillations/mobilenet_v3_small_imagenet.py

Dampening: --oscillation.name dampen --optimizer.weight-decay 2.5e-5
4 bits:    --stages.0.name w4a4 --stages.0.weight-bits 4 --stages.0.act-bits 4 --stages.0.learning-rate 0.0033
           --optimizer.weight-decay 5e-5, with freezing also --oscillation.args.threshold-end 0.01
LSQ alone: --oscillation.name track

It starts from float weights: a file with torchvision's MobileNetV3-Small state dict, --start FILE (.safetensors, .pth).

Source: Overcoming Oscillations in QAT (ICML 2022). Paper, top-1 in %, as a third party transcribed its tables:
3/3 bits: freezing 58.9, dampening 59.0, LSQ alone 52.0; 4/4: 63.6, 63.7, 61.0.
The original has no script for this network: hyper-parameters are those of MobileNetV2.
Ours: results/targets.csv, row oscillations/mobilenet_v3_small_imagenet."""

from lifeq_jax.core.config import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name="oscillations_mobilenet_v3_small_imagenet",
    data=Data(
        root="data/imagenet",
        csv="data/imagenet_1/imagenet",
        num_tasks=1,
        num_classes=1000,
        image=(248, 248, 3),
        crop=(224, 224),
        pad=0,
        flip=True,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize="random_resized_crop",
        replay=False,
    ),
    model=Part("mobilenet_v3_small"),
    stages=(Stage("w3a3", weight_bits=3, act_bits=3, epochs=90, learning_rate=0.01),),
    weight_quantizer=Part("lsq"),
    act_quantizer=Part("lsq"),
    quant_setup="LSQ_paper",
    oscillation=Part("freeze", {"threshold": 0.1, "threshold_end": 0.011}),
    reestimation_batches=50,
    importance_data="train",
    optimizer=Optimizer(weight_decay=2.5e-5, schedule="cosine"),
    start="weights/mobilenet_v3_small.safetensors",
)
