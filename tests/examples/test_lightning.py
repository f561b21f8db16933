"""Lightning: closures inside the step, its wrapper of the optimizer, its checkpoints."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from examples.running import assert_never_stopped, load, replaced

lightning = pytest.importorskip("lightning", reason="needs Lightning")

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    main = load("lightning_module").main
    straight = main(2, tmp_path / "straight", **QUIET)
    stopped = main(1, tmp_path / "stopped", **QUIET)
    assert all(replaced(stopped.plasticity))
    resumed = main(2, tmp_path / "stopped", resume=True, **QUIET)
    assert_never_stopped((resumed, resumed.plasticity), (straight, straight.plasticity))


def test_accumulated_and_clipped_gradients_of_mixed_precision(tmp_path):
    options = {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "precision": "bf16-mixed"}
    module = load("lightning_module").main(1, tmp_path, **options, **QUIET)
    assert module.plasticity.updates == 100  # of 200 batches


def test_a_second_fit_attaches_anew(tmp_path):
    """Every `fit` makes a new optimizer."""
    module = load("lightning_module").main(1, tmp_path, limit_train_batches=5, **QUIET)
    first = module.plasticity
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, **QUIET)
    trainer.fit(module, DataLoader([(torch.zeros(4, 16), torch.zeros(4).long())] * 3, batch_size=None))
    assert (first.updates, module.plasticity.updates) == (5, 3)
