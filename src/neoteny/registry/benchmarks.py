"""The benchmarks of this package, with their versions."""

from __future__ import annotations

from neoteny.registry.table import Entry, Table

BENCHMARKS = Table(
    "benchmark",
    "neoteny.lab.benchmark:Benchmark",
    "ID",
    "neoteny.benchmarks",
    Entry(
        "slowly-changing-regression-v1",
        "neoteny.benchmarks.slowly_changing_regression:SlowlyChangingRegressionBenchmark",
        "a 20-5-1 network follows a target whose input distribution changes every 10,000 examples",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "online-permuted-mnist-v1",
        "neoteny.benchmarks.online_permuted_mnist:OnlinePermutedMNIST",
        "MNIST, one example at a time, under a new permutation of the pixels each task",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "trainability-v1",
        "neoteny.benchmarks.trainability:TrainabilityBenchmark",
        "some images of MNIST under a new permutation of the pixels each task, in epochs: can they still be fitted?",
        "after Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "examples",
    ),
    Entry(
        "shuffled-labels-v1",
        "neoteny.benchmarks.shuffled_labels:ShuffledLabels",
        "some images of MNIST with new random labels each task, in epochs: can they still be memorised?",
        "Lyle et al., ICML 2023; Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "examples",
    ),
    Entry(
        "continual-imagenet-v1",
        "neoteny.benchmarks.continual_imagenet:ContinualImageNet",
        "to tell one class of ImageNet from another, then two others, thousands of times",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "ant-v1",
        "neoteny.benchmarks.locomotion:AntLocomotion",
        "an ant learns to walk by PPO, and goes on learning for 50 million steps",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "slippery-ant-v1",
        "neoteny.benchmarks.locomotion:SlipperyAnt",
        "an ant learns to walk by PPO while the friction of the ground changes",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "hopper-v1",
        "neoteny.benchmarks.locomotion:HopperLocomotion",
        "a robot of one leg learns to hop by PPO",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "walker2d-v1",
        "neoteny.benchmarks.locomotion:Walker2dLocomotion",
        "a robot of two legs learns to walk by PPO",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "slippery-half-cheetah-v1",
        "neoteny.benchmarks.locomotion:SlipperyHalfCheetah",
        "a robot in a plane learns to run by PPO while the friction of the ground changes",
        "after Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "incremental-cifar100-v1",
        "neoteny.benchmarks.incremental_cifar100:IncrementalCIFAR100",
        "a ResNet-18 learns five classes of CIFAR-100, then ten, up to a hundred",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "warm-start-v1",
        "neoteny.benchmarks.warm_start:WarmStart",
        "half of the images until they are fitted, then all of them: is it worse on the test than all at once?",
        "Ash & Adams, NeurIPS 2020",
        "examples",
    ),
    Entry(
        "generalisability-v1",
        "neoteny.benchmarks.generalisability:Generalisability",
        "few images with wrong labels, then all of them, clean: what does the start cost on the test?",
        "Lee et al., ICML 2024, arXiv 2406.02596",
        "examples",
    ),
    Entry(
        "stream-mujoco-v1",
        "neoteny.benchmarks.stream_mujoco:StreamMujoco",
        "a robot learns to move by stream AC, from every step once",
        "Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024",
        "agents",
    ),
    Entry(
        "stream-minatar-v1",
        "neoteny.benchmarks.stream_minatar:StreamMinAtar",
        "a game of MinAtar is learned by stream Q or SARSA, from every step once",
        "Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024",
        "agents",
    ),
    Entry(
        "stream-control-v1",
        "neoteny.benchmarks.stream_control:StreamControl",
        "classic control is learned by streaming agents, for quick runs",
        "after Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024",
        "agents",
    ),
    sort="KIND",
)
"""Every version of every benchmark, by id."""
