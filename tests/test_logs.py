"""Log lines: fields, the journal's levels, JSON, and texts that try to forge lines."""

import io
import json
import logging
import os
import re
import subprocess
import sys

import pytest

from gateway import logs


@pytest.fixture
def keep_logging():
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield
    root.handlers[:], level = kept
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def written(keep_logging):
    def _written(style: logs.Format = "text") -> io.StringIO:
        stream = io.StringIO()
        logs.start(style, stream=stream)
        return stream

    return _written


log = logging.getLogger("gateway.link")


def test_text_has_time_level_logger_message_and_fields(written):
    out = written()
    log.info("device %s", "online", extra={"device": "sn-1", "late": 3, "why": "a b", "none": ""})
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    gateway\.link: device online"
        r' device=sn-1 late=3 why="a b" none=""\n',
        out.getvalue(),
    )


def test_a_device_cannot_forge_a_line_or_a_field(written):
    out = written()
    log.warning("said %s", "a\nERROR x\x1b[2J", extra={"text": "x\ny=1", "u": "a=1"})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert 'text="x\\ny=1" u="a=1"' in line


def test_json_is_one_object_a_line(written):
    out = written("json")
    log.error("no room", extra={"free_mb": 3, "path": object(), "level": "mine"})
    entry = json.loads(out.getvalue())
    assert entry["level"] == "error"
    assert entry["logger"] == "gateway.link"
    assert entry["message"] == "no room"
    assert entry["free_mb"] == 3
    assert entry["t"] > 1_700_000_000_000


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_exception_is_shown(written, style):
    out = written(style)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    assert "ValueError: broken" in out.getvalue()
    if style == "json":
        assert "Traceback" in json.loads(out.getvalue())["exception"]


def test_debug_is_left_out_unless_asked_for(written):
    out = written()
    log.debug("detail")
    assert out.getvalue() == ""
    logs.start(stream=out, level="DEBUG")
    log.debug("detail")
    assert "detail" in out.getvalue()


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.CRITICAL, 3), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (10, 7)],
)
def test_journal_priorities(level, number):
    assert logs.priority(level) == number


def test_every_line_for_the_journal_has_its_level():
    record = logging.makeLogRecord({"levelno": logging.ERROR, "msg": "failed", "name": "g"})
    try:
        raise ValueError("broken")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = logs.Text(journal=True).format(record).split("\n")
    assert lines[0] == "<3>g: failed"
    assert all(line.startswith("<3>") for line in lines)
    assert len(lines) > 3


SCRIPT = "import logging; from gateway import logs; logs.start(); logging.info('hello')"


@pytest.mark.parametrize("named", [True, False])
def test_levels_are_prefixed_only_when_stderr_is_the_journal(tmp_path, named):
    with (tmp_path / "err").open("w+b") as stderr:
        stat = os.fstat(stderr.fileno())
        stream = f"{stat.st_dev}:{stat.st_ino}" if named else "1:1"
        env = os.environ | {"JOURNAL_STREAM": stream}
        subprocess.run([sys.executable, "-c", SCRIPT], check=True, stderr=stderr, env=env)
        stderr.seek(0)
        line = stderr.read()
    assert line.startswith(b"<6>root: hello") == named
