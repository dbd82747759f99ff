"""What a device remembers of the downlink: where it is, what it answered, its configuration."""

import json
import os
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from simulators.spool import SpoolError

KEPT_ANSWERS = 32


class Answer(NamedTuple):
    """The result of command `seq`: status as in RESULT key 3, and a value."""

    seq: int
    status: int
    value: Any


class Memory:
    """Downlink position, answers for replay, configuration version.

    With a path everything is in a small JSON file before it counts, else it lasts as long as the
    process. Raises SpoolError if the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.store_id: bytes | None = None
        self.position = 0
        self.begun = 0
        self.version: int | None = None
        self.document: Any = None
        self._answers: deque[Answer] = deque(maxlen=KEPT_ANSWERS)
        if path is not None and path.exists():
            self._load(path)

    def meet(self, store_id: bytes) -> None:
        """A gateway's store; another one than before numbers its downlink from 1 again."""
        if store_id != self.store_id:
            self.store_id, self.position, self.begun = store_id, 0, 0
            self._answers.clear()
            self._save()

    def answer(self, seq: int) -> Answer | None:
        """What was answered to command `seq`, if it is remembered."""
        return next((answer for answer in self._answers if answer.seq == seq), None)

    def begin(self, seq: int) -> None:
        """Note that a command that may run at most once is about to run."""
        self.begun = seq
        self._save()

    def finish(self, answer: Answer) -> None:
        """Keep an answer; the command counts as handled from here on."""
        known = [kept for kept in self._answers if kept.seq != answer.seq]
        self._answers = deque((*known, answer), maxlen=KEPT_ANSWERS)
        self.position = max(self.position, answer.seq)
        self._save()

    def configure(self, seq: int, version: int, document: Any) -> None:
        """Keep a configuration document."""
        self.version, self.document = version, document
        self.position = max(self.position, seq)
        self._save()

    def _save(self) -> None:
        if self.path is None:
            return
        state = {
            "store_id": self.store_id.hex() if self.store_id else None,
            "position": self.position,
            "begun": self.begun,
            "version": self.version,
            "document": self.document,
            "answers": list(self._answers),
        }
        fresh = self.path.with_suffix(".new")
        try:
            with fresh.open("w") as file:
                json.dump(state, file, default=repr)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise SpoolError(f"cannot write {self.path}: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        try:
            state = json.loads(path.read_text())
            self.store_id = bytes.fromhex(state["store_id"]) if state["store_id"] else None
            self.position, self.begun = int(state["position"]), int(state["begun"])
            self.version, self.document = state["version"], state["document"]
            self._answers.extend(Answer(*answer) for answer in state["answers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpoolError(f"{path} is damaged ({error}): move it away") from error
