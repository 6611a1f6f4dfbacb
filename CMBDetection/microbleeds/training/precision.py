"""In which numbers training computes: bfloat16 where the processor has it, float32 elsewhere."""

import torch


def autocast(device: str) -> torch.autocast:
    """Return the context of a training step on a torch device.

    bfloat16 halves the time where a graphics card or processor computes in it. Where it does not, PyTorch falls back to
    convolutions that take 70 times as long as those in float32.
    """
    return torch.autocast(device, torch.bfloat16, enabled=computes_in_bfloat16(device))


def computes_in_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public name for this in all versions that are supported
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
