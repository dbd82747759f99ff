"""Bytes that reach the disk, and bytes that a reading takes once it is in chunks."""

from bench import bytes as chunks
from bench import peers, plans
from bench.session import Session
from bench.upstream import metric

PART = "disk"
MINUTES = 20


def run(session: Session) -> None:
    """Once."""
    session.say("disk: written by a load of 100 a message")
    with session.running(peers.gateway()) as server:
        before = metric(server.port, "written_bytes")
        session.load(plans.sensorlink(server.port, 100), window=16, seconds=session.seconds * 2)
        written = metric(server.port, "written_bytes") - before
        readings = metric(server.port, "readings_total")
        session.notes.add(PART, "written, 100 a message", "gateway", bytes=written / readings)
    session.say("disk: chunks of made-up devices")
    found = list(chunks.figures(60 * MINUTES))
    total = sum(figure.size for *_, figure in found) / sum(f.readings for *_, f in found)
    session.notes.add(PART, "in chunks", "all made-up devices", bytes=total)
    for device, metric_name, figure in found:
        if metric_name == "temperature, int16 × 0.01":
            share = figure.size / figure.readings
            session.notes.add(PART, "in chunks", f"{device}, {metric_name}", bytes=share)
