"""The networks of torchvision and timm in plain NumPy, in torch's names and layout (NCHW, OIHW), evaluation mode.

Written from their published definitions, not from ours. A net draws each tensor when its forward first asks for it, so
one pass gives logits and the state dict that they come from."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def relu6(x):
    return np.clip(x, 0, 6)


def hard_sigmoid(x):
    return relu6(x + 3) / 6


def hard_swish(x):
    return x * hard_sigmoid(x)


def same(x):
    return x


class Net:
    """Random tensors by name, and the layers that use them."""

    def __init__(self, seed, epsilon=1e-5, gain=2):
        self.state, self.epsilon, self.gain = {}, epsilon, gain
        self.generator = np.random.default_rng(seed)

    def tensor(self, name, values):
        self.state[name] = values.astype(np.float32)
        return self.state[name].astype(np.float64)

    def conv(self, x, name, features, size=1, stride=1, groups=1, bias=False):
        in_features = x.shape[1] // groups
        deviation = np.sqrt(self.gain / (in_features * size * size))
        shape = (features, in_features, size, size)
        weight = self.tensor(f"{name}.weight", self.generator.normal(0, deviation, shape))
        padded = np.pad(x, ((0, 0), (0, 0), *[(size // 2, size // 2)] * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
        windows = windows.reshape(len(x), groups, in_features, *windows.shape[2:])
        filters = weight.reshape(groups, features // groups, in_features, size, size)
        y = np.einsum("bgihwkl,goikl->bgohw", windows, filters, optimize=True)
        y = y.reshape(len(x), features, *y.shape[3:])
        return y + self.vector(f"{name}.bias", features, -0.5, 0.5)[:, None, None] if bias else y

    def vector(self, name, features, low, high):
        return self.tensor(name, self.generator.uniform(low, high, features))

    def norm(self, x, name):
        features = x.shape[1]
        scale = self.vector(f"{name}.weight", features, 0.5, 1.5)[:, None, None]
        bias = self.vector(f"{name}.bias", features, -0.5, 0.5)[:, None, None]
        mean = self.vector(f"{name}.running_mean", features, -0.5, 0.5)[:, None, None]
        variance = self.vector(f"{name}.running_var", features, 0.5, 1.5)[:, None, None]
        self.state[f"{name}.num_batches_tracked"] = np.array(7, np.int64)
        return (x - mean) / np.sqrt(variance + self.epsilon) * scale + bias

    def unit(self, x, conv, norm, function, features, size=1, stride=1, groups=1):
        return function(self.norm(self.conv(x, conv, features, size, stride, groups), norm))

    def linear(self, x, name, features):
        weight = self.tensor(
            f"{name}.weight", self.generator.normal(0, 1 / np.sqrt(x.shape[1]), (features, x.shape[1]))
        )
        return x @ weight.T + self.vector(f"{name}.bias", features, -0.5, 0.5)


def average(x):
    return x.mean(axis=(2, 3))


def torchvision_mobilenet_v2(net, x, classes):
    x = net.unit(x, "features.0.0", "features.0.1", relu6, 32, 3, 2)
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    number = 0
    for expansion, features, count, first_stride in rows:
        for stride in [first_stride] + [1] * (count - 1):
            number += 1
            base, y, inner, place = f"features.{number}.conv", x, expansion * x.shape[1], 0
            if expansion != 1:
                y, place = net.unit(y, f"{base}.0.0", f"{base}.0.1", relu6, inner), 1
            y = net.unit(y, f"{base}.{place}.0", f"{base}.{place}.1", relu6, inner, 3, stride, inner)
            y = net.unit(y, f"{base}.{place + 1}", f"{base}.{place + 2}", same, features)
            x = x + y if stride == 1 and features == x.shape[1] else y
    x = net.unit(x, "features.18.0", "features.18.1", relu6, 1280)
    return net.linear(average(x), "classifier.1", classes)


def torchvision_mobilenet_v3_small(net, x, classes):
    x = net.unit(x, "features.0.0", "features.0.1", hard_swish, 16, 3, 2)
    rows = [  # inner features, features, size, stride, features of the squeeze, activation function
        (16, 16, 3, 2, 8, relu),
        (72, 24, 3, 2, 0, relu),
        (88, 24, 3, 1, 0, relu),
        (96, 40, 5, 2, 24, hard_swish),
        (240, 40, 5, 1, 64, hard_swish),
        (240, 40, 5, 1, 64, hard_swish),
        (120, 48, 5, 1, 32, hard_swish),
        (144, 48, 5, 1, 40, hard_swish),
        (288, 96, 5, 2, 72, hard_swish),
        (576, 96, 5, 1, 144, hard_swish),
        (576, 96, 5, 1, 144, hard_swish),
    ]
    for number, (inner, features, size, stride, squeezed, function) in enumerate(rows, 1):
        base, y, place = f"features.{number}.block", x, 0
        if inner != x.shape[1]:
            y, place = net.unit(y, f"{base}.0.0", f"{base}.0.1", function, inner), 1
        y = net.unit(y, f"{base}.{place}.0", f"{base}.{place}.1", function, inner, size, stride, inner)
        if squeezed:
            place += 1
            gate = relu(net.conv(average(y)[:, :, None, None], f"{base}.{place}.fc1", squeezed, bias=True))
            y = y * hard_sigmoid(net.conv(gate, f"{base}.{place}.fc2", inner, bias=True))
        y = net.unit(y, f"{base}.{place + 1}.0", f"{base}.{place + 1}.1", same, features)
        x = x + y if stride == 1 and features == x.shape[1] else y
    x = average(net.unit(x, "features.12.0", "features.12.1", hard_swish, 576))
    return net.linear(hard_swish(net.linear(x, "classifier.0", 1024)), "classifier.3", classes)


def timm(rows):
    """The forward of timm's EfficientNet class; of each stage: blocks, size, stride, expansion, features."""

    def forward(net, x, classes):
        x = net.unit(x, "conv_stem", "bn1", relu6, 32, 3, 2)
        for stage, (count, size, first_stride, expansion, features) in enumerate(rows):
            for index in range(count):
                stride = first_stride if index == 0 else 1
                base, inner = f"blocks.{stage}.{index}", expansion * x.shape[1]
                if expansion == 1:
                    y = net.unit(x, f"{base}.conv_dw", f"{base}.bn1", relu6, inner, size, stride, inner)
                    y = net.unit(y, f"{base}.conv_pw", f"{base}.bn2", same, features)
                else:
                    y = net.unit(x, f"{base}.conv_pw", f"{base}.bn1", relu6, inner)
                    y = net.unit(y, f"{base}.conv_dw", f"{base}.bn2", relu6, inner, size, stride, inner)
                    y = net.unit(y, f"{base}.conv_pwl", f"{base}.bn3", same, features)
                x = x + y if stride == 1 and features == x.shape[1] else y
        x = net.unit(x, "conv_head", "bn2", relu6, 1280)
        return net.linear(average(x), "classifier", classes)

    return forward


timm_efficientnet_lite0 = timm(
    [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ]
)
timm_mobilenet_v2 = timm(
    [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (3, 3, 2, 6, 32),
        (4, 3, 2, 6, 64),
        (3, 3, 1, 6, 96),
        (3, 3, 2, 6, 160),
        (1, 3, 1, 6, 320),
    ]
)


def max_pool(x):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return windows[:, :, ::2, ::2].max(axis=(4, 5))


def resnet(counts, expansion):
    """The forward of torchvision's and timm's ResNet; expansion 1: two 3x3 convolutions a block, 4: bottlenecks."""

    def forward(net, x, classes):
        x = max_pool(net.unit(x, "conv1", "bn1", relu, 64, 7, 2))
        for stage, count in enumerate(counts):
            features = 64 * 2**stage
            for index in range(count):
                base, stride = f"layer{stage + 1}.{index}", 2 if stage > 0 and index == 0 else 1
                shapes = [(features, 3, stride), (features, 3, 1)]
                if expansion == 4:
                    shapes = [(features, 1, 1), (features, 3, stride), (4 * features, 1, 1)]
                y = x
                for place, shape in enumerate(shapes, 1):
                    function = same if place == len(shapes) else relu
                    y = net.unit(y, f"{base}.conv{place}", f"{base}.bn{place}", function, *shape)
                if stride != 1 or x.shape[1] != y.shape[1]:
                    x = net.unit(x, f"{base}.downsample.0", f"{base}.downsample.1", same, y.shape[1], 1, stride)
                x = relu(x + y)
        return net.linear(average(x), "fc", classes)

    return forward


# Of each state dict: the row of MODELS, the forward, the epsilon of its norms, the gain of its convolutions (hard-swish
# halves small values: at a gain of 2 the images would hardly differ in the logits).
NETS = {
    "torchvision mobilenet_v2": ("mobilenet_v2", torchvision_mobilenet_v2, 1e-5, 2),
    "timm mobilenetv2_100": ("mobilenet_v2", timm_mobilenet_v2, 1e-5, 2),
    "torchvision mobilenet_v3_small": ("mobilenet_v3_small", torchvision_mobilenet_v3_small, 1e-3, 10),
    "timm efficientnet_lite0": ("efficientnet_lite0", timm_efficientnet_lite0, 1e-5, 2),
    "torchvision resnet18": ("resnet18", resnet((2, 2, 2, 2), 1), 1e-5, 2),
    "torchvision resnet50": ("resnet50", resnet((3, 4, 6, 3), 4), 1e-5, 2),
}
