"""Clipping by norm is torch's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from neoteny.errors import SettingError
from neoteny.methods.shared.clip_grad_norm import ClipGradNorm


@pytest.mark.parametrize("max_norm", [0.5, 3.0, 1e6])
def test_it_is_torch_s(max_norm):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 2, 2))]
    gradients = {str(k): torch.randn_like(p) for k, p in enumerate(parameters)}
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    step = SimpleNamespace(grads=dict(gradients))
    ClipGradNorm(max_norm=max_norm).regularise(step, {})
    for parameter, found in zip(parameters, step.grads.values(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-6, atol=0)
    after = torch.cat([g.flatten() for g in step.grads.values()]).norm().item()
    assert after == pytest.approx(min(norm.item(), max_norm), rel=1e-5)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_a_max_norm_that_is_none_is_refused(max_norm):
    with pytest.raises(SettingError, match="max_norm"):
        ClipGradNorm(max_norm=max_norm)
