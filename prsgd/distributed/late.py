"""Work that goes on in threads while the caller goes on as well."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import torch


class Late:
    """A piece of work, done after the one that was started `before` it; awaited as torch's are.

    Threads are daemons: a process that fails does not wait for peers that are gone.
    """

    def __init__(self, work: Callable[[], Any], device: torch.device, before: Late | None) -> None:
        self._before = before
        self._found: Any = None
        self._error: BaseException | None = None
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream())
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], Any]) -> None:
        before, self._before = self._before, None
        if self._stream:
            torch.cuda.set_device(self._stream.device)  # a thread begins at the first GPU
        if before:
            before._thread.join()
            if self._stream:
                self._stream.wait_stream(before._stream)
        try:
            with torch.no_grad(), torch.cuda.stream(self._stream):
                self._found = work()
        except BaseException as error:
            self._error = error

    def is_completed(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> Any:
        """What the work returned; raises what it raised."""
        self._thread.join()
        if self._stream:
            torch.cuda.current_stream().wait_stream(self._stream)
        if self._error:
            raise self._error
        return self._found
