"""Several processes are as one: they judge units by the whole batch and make the same ones new."""

from __future__ import annotations

import os
import socket
import traceback
from contextlib import closing

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import SettingError
from neoteny.methods import ContinualBackprop, L2Init, ReDo
from neoteny.units import find

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
    pytest.mark.slow,
]

METHODS = {
    "sums": [ContinualBackprop(replacement_rate=0.03, maturity_threshold=5), L2Init(strength=0.01)],
    "tensors": [
        ContinualBackprop(
            replacement_rate=0.05,
            maturity_threshold=5,
            utility="adaptable_contribution",
            replacement="accumulate",
            compensate=True,
        ),
        ReDo(tau=0.4, period=11),
    ],
}
STEPS, BATCH = 30, 8


def make_model(device="cpu"):
    torch.manual_seed(0)
    layers = nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 3)
    return nn.Sequential(*layers).to(device, torch.float64)


def attached(methods, wrap=lambda model: model, device="cpu", later=lambda model: model):
    model = make_model(device)
    units = find(model, torch.zeros(2, 4, dtype=torch.float64, device=device))
    model = wrap(model)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, METHODS[methods], units=units, seed=5, state_in_optimizer=False)
    return later(model), optimizer, plasticity


def train(model, optimizer, start, stop, rank=0, world=1, device="cpu"):
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        x, y = (torch.randn(BATCH, width, generator=generator, dtype=torch.float64) for width in (4, 3))
        optimizer.zero_grad()
        x, y = x[rank::world].to(device), y[rank::world].to(device)
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


def everything(model, optimizer, plasticity):
    """Weights, moments and the methods' state, all of it, as arrays by name."""

    def whole(value):
        value = value.full_tensor() if hasattr(value, "full_tensor") else value
        return value.detach().cpu().clone().numpy()

    found = {}
    for name, p in plasticity._network.parameters.items():
        found[name] = whole(p)
        found |= {f"{name}/{key}": whole(optimizer.state[p][key]) for key in ("exp_avg", "exp_avg_sq")}
    for method, saved in plasticity.state_dict()["methods"].items():
        found |= {f"{method}/{key}": whole(value) for key, value in saved["state"].items()}
    return found, plasticity.counters()


def alone(methods, steps=STEPS):
    run = attached(methods)
    train(*run[:2], 0, steps)
    return everything(*run)


# What the processes do


def shard(model):
    from torch.distributed.fsdp import fully_shard

    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


DDP = nn.parallel.DistributedDataParallel
WRAPPERS = {"ddp": {"wrap": DDP}, "ddp by a trainer": {"later": DDP}, "fsdp": {"wrap": shard}}


def train_together(rank, world, device="cpu"):
    """Each way of splitting, with each set of methods."""
    found = {}
    for wrapper in WRAPPERS if device == "cpu" else ("ddp",):
        for methods in METHODS:
            run = attached(methods, device=device, **WRAPPERS[wrapper])
            train(*run[:2], 0, STEPS, rank, world, device)
            found[wrapper, methods] = everything(*run)
    return found


def _parts(run):
    from torch.distributed.checkpoint.state_dict import get_state_dict

    model, optimizer = get_state_dict(*run[:2])
    return {"model": model, "optimizer": optimizer, "plasticity": run[2]}


def save_half_way(rank, world, folder):
    import torch.distributed.checkpoint as dcp

    run = attached("sums", shard)
    train(*run[:2], 0, STEPS // 2, rank, world)
    dcp.save(_parts(run), checkpoint_id=folder)


def go_on(rank, world, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_state_dict

    run = attached("sums", shard)
    parts = _parts(run)
    dcp.load(parts, checkpoint_id=folder)
    set_state_dict(*run[:2], model_state_dict=parts["model"], optim_state_dict=parts["optimizer"])
    train(*run[:2], STEPS // 2, STEPS, rank, world)
    return everything(*run)


def two_processes(rank, world, folder):
    save_half_way(rank, world, f"{folder}/2")
    return train_together(rank, world)


def four_processes(rank, world, folder):
    save_half_way(rank, world, f"{folder}/4")
    return train_together(rank, world), go_on(rank, world, f"{folder}/2")


# How they are started


def _process(rank, world, port, function, args, backend, queue):
    try:
        torch.set_num_threads(1)
        os.environ.update(GLOO_SOCKET_IFNAME="lo")
        if backend == "nccl":
            torch.cuda.set_device(rank)
        torch.distributed.init_process_group(
            backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
        queue.put((rank, function(rank, world, *args), None))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    except BaseException:
        queue.put((rank, None, traceback.format_exc()))


def run(world, function, *args, backend="gloo", start="fork"):
    """The results of one function in so many processes, by rank."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context(start)
    queue = context.Queue()
    processes = [
        context.Process(target=_process, args=(rank, world, port, function, args, backend, queue), daemon=True)
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    try:
        results = {}
        for _ in processes:
            rank, result, error = queue.get(timeout=300)
            assert error is None, f"process {rank}: {error}"
            results[rank] = result
        for process in processes:
            process.join(60)
    finally:
        for process in processes:
            process.kill()
    return [results[rank] for rank in range(world)]


def assert_same_processes(results):
    for name, value in results[0][0].items():
        for other in results[1:]:
            assert value.tobytes() == other[0][name].tobytes(), name
    assert all(other[1] == results[0][1] for other in results)


def assert_as_alone(result, methods):
    values, counters = alone(methods)
    assert counters == result[1]
    assert all(layer["units_replaced"] > 0 for layer in counters["cbp"].values())
    for name, value in values.items():
        torch.testing.assert_close(
            torch.from_numpy(result[0][name]), torch.from_numpy(value), rtol=1e-8, atol=1e-10,
            msg=lambda m, name=name: f"{name}: {m}",
        )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def two(folder):
    return run(2, two_processes, folder)


@pytest.fixture(scope="module")
def four(two, folder):
    return run(4, four_processes, folder)


@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("world", [2, 4])
def test_together_as_alone(world, wrapper, methods, request):
    results = request.getfixturevalue("two") if world == 2 else [own for own, _ in request.getfixturevalue("four")]
    own = [result[wrapper, methods] for result in results]
    assert_same_processes(own)
    assert_as_alone(own[0], methods)


def test_a_sharded_checkpoint_of_two_goes_on_in_four(four):
    own = [result for _, result in four]
    assert_same_processes(own)
    assert_as_alone(own[0], "sums")


def test_a_sharded_checkpoint_of_four_goes_on_in_two(four, folder):
    own = run(2, go_on, f"{folder}/4")
    assert_same_processes(own)
    assert_as_alone(own[0], "sums")


def test_sharded_networks_want_their_units_found_before(monkeypatch):
    from neoteny.attachment import attach as room

    monkeypatch.setattr(room, "is_sharded", lambda tensor: True)
    model = make_model()
    with pytest.raises(SettingError, match="before it is sharded"):
        neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), ReDo(), torch.zeros(2, 4))


@pytest.mark.cuda
def test_on_gpus():
    world = min(2, torch.cuda.device_count())
    results = run(world, _on_gpu, backend="nccl", start="spawn")
    for methods in METHODS:
        own = [result["ddp", methods] for result in results]
        assert_same_processes(own)
        assert_as_alone(own[0], methods)


def _on_gpu(rank, world):
    return train_together(rank, world, f"cuda:{rank}")
