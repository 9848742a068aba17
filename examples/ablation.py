"""Twelve runs on the quickstart's digits: three methods, one of which diverges, two bit-widths, two seeds."""

import lifeq_jax as lq

lq.fast_cpu()
small = {"model": lq.Part("mlp", {"hidden": 100}), "data.batch_size": 64, "data.validation": 0.2}
recipe = lq.load_recipe("lifequant/resnet20_digits").replace(small)
methods = ["finetune", ("ewc", {"strength": 0.1}), ("ewc", {"strength": 1e30})]
swept = lq.sweep(recipe, {"method": methods, "stages.2.weight_bits": [2, 4]}, "runs/ablation", seeds=(0, 1))
print(swept.table())
swept.plot("average_accuracy", by="method", hue="stages.2.weight_bits").save("ablation.png")
