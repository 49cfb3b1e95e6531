"""Where and in which arithmetic the networks run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from astro_vq.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device of a name; 'auto' takes a GPU when there is one.

    Parameters
    ----------
    name : str
        'auto', 'cpu', 'cuda', 'cuda:1', ..., or 'mps'.

    Raises
    ------
    ConfigError
        The device is not to be had here.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    device = torch.device(name)
    missing = (
        (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count())
        or (device.type == "mps" and not has_mps)
    )  # fmt: skip
    if missing:
        raise ConfigError(f"device {name} is not to be had here; use --device auto or cpu")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype that networks are cast to, or None for float32 throughout.

    'auto' takes bfloat16 where the hardware computes in it: CUDA devices of compute capability
    8 and later, and CPUs with AMX or AVX512-BF16, on which a step of the compact network took
    0.56 of its time in float32, and the loss came out the same to 3e-4. Elsewhere bfloat16 is
    emulated and slower.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else None
    if device.type == "cuda":
        is_fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        is_fast = device.type == "cpu" and has_bfloat16()
    return torch.bfloat16 if is_fast else None


def has_bfloat16() -> bool:
    """Say whether this CPU multiplies in bfloat16; False where torch cannot tell."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in checks)


@contextmanager
def reproducible(device: torch.device, *, seed: int, threads: int | None) -> Iterator[None]:
    """Seed torch and choose algorithms that repeat; everything is put back at the end.

    Parameters
    ----------
    device : torch.device
        Where networks run.
    seed : int
        Seed of torch's generators.
    threads : int or None
        CPU threads; None leaves them as they are.
    """
    threads_before = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if device.type == "cuda":
        # read by cuBLAS when it starts: without it, products of matrices need not repeat
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        if device.type == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads_before)
