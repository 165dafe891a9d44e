"""The verb `info`."""

from sspnerf.console import out


def info() -> None:
    """Say which backend runs here, and why."""
    import torch

    from sspnerf import __version__
    from sspnerf.ops.backend import choose, field_dtype

    device = torch.device("cpu")
    backend = choose(device)
    number_type = str(field_dtype(device)).removeprefix("torch.")
    out.print(f"sspnerf {__version__}, torch {torch.__version__}", soft_wrap=True)
    out.print(f"backend: {backend.name} ({backend.reason})", soft_wrap=True)
    out.print(f"numbers inside fields: {number_type}", soft_wrap=True)
