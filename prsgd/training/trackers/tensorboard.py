"""TensorBoard: event files in the run folder. tensorboard --logdir RUNS shows all runs in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from prsgd.config.plan import Job
from prsgd.training.trackers.base import Outcome
from prsgd.training.trackers.external import Book


class TensorBoardBook(Book):
    """Columns are tags."""

    def begin(self, job: Job, key: str) -> str:
        self.writer = SummaryWriter(str(job.folder / "tensorboard"))
        if not key:
            text = yaml.safe_dump(job.run.as_dict(), sort_keys=False)
            self.writer.add_text("configuration", f"```yaml\n{text}```")
        return "tensorboard"

    def write(self, numbers: dict[str, float], t: int) -> None:
        for name, number in numbers.items():
            self.writer.add_scalar(name, number, t)
        self.writer.flush()

    def end(self, outcome: Outcome, figures: list[Path]) -> None:
        self.writer.add_text("status", f"{outcome.status} {outcome.why}".strip())
        for path in figures:
            image = np.asarray(Image.open(path).convert("RGB"))
            self.writer.add_image(f"figures/{path.stem}", image, dataformats="HWC")

    def close(self, failed: bool) -> None:
        self.writer.close()
