import pytest
import torch
from microbleeds.training import precision
from torch import nn


@pytest.mark.parametrize("supported, format_of_results", [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processor_without_bfloat16_computes_in_float32(monkeypatch, supported, format_of_results):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    with precision.autocast("cpu"):
        assert nn.Conv3d(1, 1, 1)(torch.ones(1, 1, 2, 2, 2)).dtype is format_of_results


def test_a_pytorch_that_does_not_say_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not precision.computes_in_bfloat16("cpu")
