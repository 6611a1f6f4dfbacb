"""MicrobleedNet's two networks once more, as plain functions of a state dict, from the table of layers of its code.

Only the tests use them: keys, shapes and arithmetic here are written apart from `microbleeds.reference_networks`.
"""

import torch
from torch.nn import functional


def _conv(key, outputs, inputs, kernel):
    return {f"{key}.weight": (outputs, inputs, kernel, kernel, kernel), f"{key}.bias": (outputs,)}


def _norm(key, channels):
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{key}.{name}": (channels,) for name in vectors}, f"{key}.num_batches_tracked": ()}


def _double(key, outputs, inputs, second_kernel):
    return {**_conv(f"{key}.0", outputs, inputs, 3), **_norm(f"{key}.1", outputs),
            **_conv(f"{key}.3", outputs, outputs, second_kernel), **_norm(f"{key}.4", outputs)}


def _linear(key, outputs, inputs):
    return {f"{key}.weight": (outputs, inputs), f"{key}.bias": (outputs,)}


_EXTRACTOR = {**_conv("inpconv.conv", 3, 2, 1), **_double("convfirst.double_conv", 64, 3, 1),
              **_double("down1.maxpool_conv.1.double_conv", 128, 64, 1),
              **_double("down2.maxpool_conv.1.double_conv", 256, 128, 1)}
DETECTOR_SHAPES = {
    **_EXTRACTOR, "up2.up.weight": (256, 128, 3, 3, 3), "up2.up.bias": (128,),
    **_double("up2.conv.double_conv", 128, 256, 1), "up1.up.weight": (128, 64, 3, 3, 3), "up1.up.bias": (64,),
    **_double("up1.conv.double_conv", 64, 128, 1), **_conv("outconv.conv", 2, 64, 1)}
_HEAD = {**_conv("convfirst.single_conv.0", 128, 256, 1), **_norm("convfirst.single_conv.1", 128),
         **_double("down1.maxpool_conv.1.double_conv", 128, 128, 3),
         **_double("down2.maxpool_conv.1.double_conv", 128, 128, 3)}
_LINEAR = {**_linear("fc1", 128, 1024), **_linear("fc2", 32, 128), **_linear("fc3", 2, 32)}
TEACHER_HEAD_SHAPES = {**_HEAD, **_LINEAR}
STUDENT_SHAPES = {**_EXTRACTOR, **{f"class{key}": shape for key, shape in _HEAD.items()}, **_LINEAR}


def random_state(shapes, seed):
    """Return weights that keep the size of what passes through, with uneven running statistics."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(100)
        elif key.endswith("running_var"):
            state[key] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) > 1:
            inputs = shape[0] * 27 / 8 if ".up." in key else torch.Size(shape[1:]).numel()
            state[key] = torch.randn(shape, generator=generator) * (2 / inputs) ** 0.5
        else:
            one = key.endswith("weight")
            state[key] = one + 0.2 * torch.randn(shape, generator=generator)
    return state


def _apply_norm(state, key, x):
    return functional.relu(functional.batch_norm(x, *(state[f"{key}.{name}"] for name in (
        "running_mean", "running_var", "weight", "bias"))))


def _apply_conv(state, key, x, padding=0):
    return functional.conv3d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=padding)


def _apply_double(state, key, x, second_kernel):
    x = _apply_norm(state, f"{key}.1", _apply_conv(state, f"{key}.0", x, 1))
    return _apply_norm(state, f"{key}.4", _apply_conv(state, f"{key}.3", x, second_kernel // 2))


def _apply_extractor(state, x):
    first = _apply_double(state, "convfirst.double_conv", _apply_conv(state, "inpconv.conv", x), 1)
    second = _apply_double(state, "down1.maxpool_conv.1.double_conv", functional.max_pool3d(first, 2), 1)
    return first, second, _apply_double(state, "down2.maxpool_conv.1.double_conv", functional.max_pool3d(second, 2), 1)


def _apply_up(state, key, x, skipped):
    x = functional.conv_transpose3d(x, state[f"{key}.up.weight"], state[f"{key}.up.bias"], stride=2)
    x = torch.cat([skipped, x[:, :, 1:, 1:, 1:]], dim=1)
    return _apply_double(state, f"{key}.conv.double_conv", x, 1)


def detector(state, x):
    """Return logits (n, 2, i, j, k) of images (n, 2, i, j, k) whose sides are multiples of 4."""
    first, second, third = _apply_extractor(state, x)
    return _apply_conv(state, "outconv.conv", _apply_up(state, "up1", _apply_up(state, "up2", third, second), first))


def student(state, x):
    """Return logits (n, 2) of patches (n, 2, 24, 24, 24)."""
    x = _apply_extractor(state, x)[-1]
    x = _apply_norm(state, "classconvfirst.single_conv.1", _apply_conv(state, "classconvfirst.single_conv.0", x, 1))
    for key in ("classdown1", "classdown2"):
        x = _apply_double(state, f"{key}.maxpool_conv.1.double_conv", functional.max_pool3d(x, 2), 3)
    x = x.flatten(1)
    for key in ("fc1", "fc2", "fc3"):
        x = functional.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])
    return x
