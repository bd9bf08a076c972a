"""A tuning's state on disk: one file for one process, a folder of accelerate's for several.

OUT/unfinished.pt        what learns, the optimizer, the random state and the counters (fdr_bench.training.checkpoint)
OUT/unfinished-STEP/     the same, sharded as the processes hold it; counters.json is written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fdr_bench.errors import RunError
from fdr_bench.store import write_json
from fdr_bench.training import checkpoint

COUNTERS = "counters.json"


def what_changes(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that training changes: parameters that learn, and buffers (running statistics)."""
    frozen = {name for name, one in model.named_parameters(remove_duplicate=False) if not one.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


class Checkpoints:
    """The saved states of one training, in its output folder."""

    def __init__(
        self,
        out: Path,
        identity: str,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """`model` and `optimizer` as `accelerator.prepare` returned them."""
        self.out, self.identity, self.accelerator = out, identity, accelerator
        self.model, self.optimizer = model, optimizer
        self.alone = accelerator.num_processes == 1

    def save(self, counters: Mapping[str, Any]) -> None:
        """Save the state with the counters (JSON data; "position" among them). All processes must call it."""
        if self.alone:
            checkpoint.save(self.out / checkpoint.NAME, self.identity, self._state(counters))
        else:
            self._save_shards(counters)

    def load(self) -> dict[str, Any] | None:
        """Put the newest saved state into model and optimizer; return its counters, or None where there is none.

        Raises `RunError` where it is damaged or of another training.
        """
        return self._load_one() if self.alone else self._load_shards()

    def remove(self) -> None:
        """Delete all saved states."""
        (self.out / checkpoint.NAME).unlink(missing_ok=True)
        for folder in self._folders():
            shutil.rmtree(folder)

    def _state(self, counters: Mapping[str, Any]) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "model": what_changes(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scaler": {} if scaler is None else scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.accelerator.device.type == "cuda" else [],
            "counters": json.dumps(counters),
        }

    def _load_one(self) -> dict[str, Any] | None:
        state = checkpoint.load(self.out / checkpoint.NAME, self.identity)
        if state is None:
            return None
        wanted = what_changes(self.model)
        if set(state["model"]) != set(wanted):
            raise RunError(f"{self.out / checkpoint.NAME} holds other tensors than are trained; delete it")
        self.model.load_state_dict(state["model"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"]:
            torch.cuda.set_rng_state_all(state["random_cuda"])
        counters: dict[str, Any] = json.loads(state["counters"])
        return counters

    def _save_shards(self, counters: Mapping[str, Any]) -> None:
        folder = self.out / f"unfinished-{counters['position']:09d}"
        self.accelerator.save_state(str(folder))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write_json(folder / COUNTERS, {"identity": self.identity, "counters": dict(counters)})
            for older in self._folders():
                if older != folder:
                    shutil.rmtree(older)
        self.accelerator.wait_for_everyone()

    def _load_shards(self) -> dict[str, Any] | None:
        # A folder without counters was being written when the training was stopped.
        whole = [folder for folder in self._folders() if (folder / COUNTERS).is_file()]
        if not whole:
            return None
        try:
            found = json.loads((whole[-1] / COUNTERS).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{whole[-1] / COUNTERS} is damaged ({error}); delete the folder") from error
        if found["identity"] != self.identity:
            raise RunError(
                f"{whole[-1]} is of a training with another recipe, dataset, seed or size; choose another --out, "
                "or give --restart to train from the beginning"
            )
        self.accelerator.load_state(str(whole[-1]))
        counters: dict[str, Any] = found["counters"]
        return counters

    def _folders(self) -> list[Path]:
        return sorted(folder for folder in self.out.glob("unfinished-*") if folder.is_dir())
