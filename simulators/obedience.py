"""How a device obeys: each command once, its answer as often as it is asked for."""

from typing import Any

from gateway.core.messages import Command, Config, Event, Result
from simulators.body import (
    EXPIRED,
    UNKNOWN,
    UNNUMBERED,
    Body,
    Draft,
    Outcome,
)
from simulators.memory import Answer, Memory

AT_MOST_ONCE = 1


def obey(command: Command, *, body: Body, memory: Memory) -> Outcome:
    """Carry out a command, or recall what came of it; the answer is remembered."""
    known = memory.answer(command.seq)
    if known is not None:
        return Outcome(known.status, known.value)
    if command.seq <= memory.position or command.seq == memory.begun:
        outcome = Outcome(UNKNOWN)
    elif command.ttl_ms == 0:
        outcome = Outcome(EXPIRED)
    else:
        if (command.flags or 0) & AT_MOST_ONCE:
            memory.begin(command.seq)
        outcome = body.act(command.op, command.args)
    memory.finish(Answer(command.seq, outcome.status, outcome.value))
    return outcome


def result(memory: Memory, seq: int, outcome: Outcome) -> Draft:
    """The RESULT of downlink number `seq`."""
    command: list[Any] = [memory.store_id, seq]
    return Draft(
        Result(seq=UNNUMBERED, command=command, status=outcome.status, value=outcome.value)
    )


def adopt(config: Config, *, body: Body, memory: Memory) -> Draft | None:
    """Take on a configuration; the event that says so, or None if it was known."""
    if config.seq <= memory.position:
        return None
    body.configure(config.document)
    memory.configure(config.seq, config.version, config.document)
    return Draft(Event(seq=UNNUMBERED, name="configured", detail={"version": config.version}))
