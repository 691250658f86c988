"""Signals: SIGTERM and SIGINT stop the command cleanly, or end the process when that hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Callable, Iterator, NoReturn

from airflow_provider_feast.runner.basics import Interrupted


class Stopper:
    """Turns SIGTERM and SIGINT into one Interrupted in the main thread; ends the process when that hangs."""

    def __init__(self, on_give_up: Callable[[int], object], seconds: float) -> None:
        self._on_give_up, self._seconds = on_give_up, seconds
        self._shields = 0
        self._pending = False
        self.signal = 0

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    def install(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True, name="feast-runner-stop").start()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            if not self._shields:
                self._give_up(number)
            return
        self.signal = number
        self._pending = bool(self._shields)
        if not self._pending:
            raise Interrupted

    def _watch(self, read: int) -> None:
        """Works although the main thread is stuck in C code: C code writes the wakeup descriptor, too."""
        number = 0
        while number not in (signal.SIGTERM, signal.SIGINT):
            number = os.read(read, 1)[0]
        time.sleep(self._seconds)
        self._give_up(number)

    def _give_up(self, number: int) -> NoReturn:
        self.signal = self.signal or number
        self._on_give_up(self.exit_code)
        os._exit(self.exit_code)

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Delays an interruption: a registry file that is half written would be lost."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise Interrupted
