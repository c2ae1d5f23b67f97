"""Which device computes where nobody has chosen one."""

import functools
import logging

import torch
import torch.nn.functional as F

logger = logging.getLogger(__name__)

# What a picture [1, 4, 8, 8] in 0..1, places [1, 4, 4, 2] in and around it and matrices [1, 3, 3] are put through: the
# operations of a frame that torch has lacked, or had wrong, on Apple's GPUs. Lookups that repeat a picture's border are
# refused there by torch 2.9 and known to work from 2.11 on.
OPERATIONS = {
    "grid_sample": lambda x, grid, matrix: F.grid_sample(x, grid, padding_mode="border", align_corners=False),
    "interpolate": lambda x, grid, matrix: F.interpolate(x, size=(5, 5), mode="bilinear", antialias=True),
    "bicubic interpolate": lambda x, grid, matrix: F.interpolate(x, size=(16, 16), mode="bicubic"),
    "max_pool2d": lambda x, grid, matrix: F.max_pool2d(x.contiguous(memory_format=torch.channels_last), 5, 1, 2),
    "linalg.inv": lambda x, grid, matrix: torch.linalg.inv(matrix),
    "linalg.solve": lambda x, grid, matrix: torch.linalg.solve(matrix, matrix.mT),
    "searchsorted": lambda x, grid, matrix: torch.searchsorted(x.flatten().cumsum(0), grid.flatten(), right=True),
    "embedding_bag": lambda x, grid, matrix: F.embedding_bag((x[0, 0] * 8).long(), x[0, 1], mode="mean"),
    "scatter_reduce": lambda x, grid, matrix: x[0, 0].scatter_reduce(0, (x[0, 1] * 8).long(), x[0, 2], "amax"),
}


def best_device() -> str:
    """A CUDA GPU where there is one; else Apple's, if this torch gets right there what a frame needs; else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    if not torch.backends.mps.is_available():
        return "cpu"
    if (sentence := shortcoming("mps")) is not None:
        logger.warning("%s The CPU is used.", sentence)
        return "cpu"
    return "mps"


@functools.cache
def shortcoming(device: str) -> str | None:
    """A sentence on what of `OPERATIONS` a device cannot do or does otherwise than the CPU; None where all is right."""
    generator = torch.Generator().manual_seed(0)
    picture, grid = torch.rand(1, 4, 8, 8, generator=generator), torch.randn(1, 4, 4, 2, generator=generator)
    given = picture, grid, picture[:, 0, :3, :3] + torch.eye(3)
    for name, operation in OPERATIONS.items():
        try:
            there = operation(*(x.to(device) for x in given)).cpu()
            reason = None if torch.allclose(there, operation(*given), atol=1e-4) else "it gives other results"
        except RuntimeError as error:  # also what is not implemented
            reason = str(error).split("\n")[0]
        if reason is not None:
            return f"torch {torch.__version__} cannot do {name} on {device} ({reason}): update torch."
    return None
