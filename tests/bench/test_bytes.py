import pytest

from bench.bytes import MOST, NOON, Recorder, cut, figures, joined
from gateway.core.chunks import Run
from gateway.core.readings import NS_PER_S, Clock
from simulators.kinds import KINDS


@pytest.fixture(scope="module")
def found():
    return {(device, metric): figure for device, metric, figure in figures(seconds=300)}


def test_every_kind_of_device_is_weighed(found):
    for name, kind in KINDS.items():
        for field in kind.fields:
            assert found[name, field[0]].readings > 0
    assert found["soil", "soil_moisture"].readings > 0


def test_chunks_are_full_but_the_last(found):
    for readings, chunks, _ in found.values():
        assert chunks == -(-readings // MOST)


def test_what_chunks_are_judged_by(found):
    bytes_a_reading = {key: figure.size / figure.readings for key, figure in found.items()}
    judged = "1 Hz ± 1–3 ms"
    assert bytes_a_reading[judged, "temperature, int16 × 0.01"] <= 2.5
    assert bytes_a_reading[judged, "temperature, decimal fractions"] <= 2.5
    assert bytes_a_reading[judged, "white noise, float32"] <= 6


def test_a_device_without_a_clock_keeps_its_order_over_restarts():
    recorder = Recorder("logger")
    runs = joined(recorder.record(seconds=3600)["level"])
    assert len(runs) == len(recorder.boots) > 1
    t = [moment for run in runs for moment in run.t.tolist()]
    assert t == sorted(t)
    assert NOON <= t[0] < t[-1] < NOON + 3600 * NS_PER_S
    portions = list(cut(runs))
    assert [moment for some in portions for run in some for moment in run.t.tolist()] == t
    assert all(isinstance(run, Run) and run.clock is Clock.MAPPED for run in runs)
