"""Mixed precision: bfloat16 in the convolutions, those of the losses too, float32 in everything that is geometry."""

from pathlib import Path

import torch
from torch import nn

from ..inversion import Networks

CPU_INFO = Path("/proc/cpuinfo")
CPU_FLAGS = ("amx_bf16", "avx512_bf16")


def mixed_precision_dtype(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the device multiplies it in hardware (CUDA from Ampere, CPUs with AMX or AVX-512), else None."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu" and CPU_INFO.is_file():
        flags = CPU_INFO.read_text(encoding="utf-8")
        return torch.bfloat16 if any(flag in flags for flag in CPU_FLAGS) else None
    return None


def use_mixed_precision(networks: Networks, device: torch.device, dtype: torch.dtype) -> None:
    """Run the convolutional networks of `networks` under autocast from now on.

    Only they: autocast around a whole training step would also turn the matrix products of cameras and face model into
    bfloat16, which moves vertices and rays by whole pixels.
    """
    generator = networks.generator
    convolutional = (
        networks.latent_encoder,
        networks.texture_encoder.unet,
        networks.triplane_encoder.unet,
        generator.texture_backbone,
        generator.static_backbone,
        generator.face_backbone,
        generator.compositor.unet if generator.config.surface_rendering else generator.super_resolution,
    )
    for network in convolutional:
        use_autocast(network, device, dtype)


def use_autocast(network: nn.Module, device: torch.device, dtype: torch.dtype, method: str = "forward") -> None:
    """Run a network under autocast from now on, or another of its methods that is called by itself."""
    setattr(network, method, torch.autocast(device.type, dtype)(getattr(network, method)))
