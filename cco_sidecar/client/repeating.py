"""What is done again and again beside something else, in a thread."""

import threading
from collections.abc import Callable
from typing import Self


class Repeated:
    """Does something again and again in a thread of its own, until it says no or is stopped.

    :param do: says whether to go on.
    """

    def __init__(self, do: Callable[[], bool], every_seconds: float, name: str) -> None:
        self._do = do
        self._every_seconds = every_seconds
        self._is_over = threading.Event()
        # A daemon: a program that ends does not wait for it.
        self._thread = threading.Thread(target=self._run, name=f"cco-sidecar: {name}", daemon=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; what is being done is not waited for."""
        self._is_over.set()

    @property
    def is_alive(self) -> bool:
        """Whether it still goes on."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._is_over.wait(self._every_seconds) and self._do():
            pass
