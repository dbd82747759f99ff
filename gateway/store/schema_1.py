"""The SQL of the first schema.

Foreign keys are declared so that Datasette links rows; they are not enforced. Columns that end in
`_ns` are nanoseconds, all other times Unix milliseconds. Views show times as ISO 8601 too.
"""

TABLES = (
    """CREATE TABLE migration (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL)""",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE device (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token_hash TEXT,
        speaks_for_others INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,
        disabled INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'offline', since INTEGER NOT NULL DEFAULT 0, until INTEGER,
        last_seen INTEGER NOT NULL DEFAULT 0, config_version INTEGER, config TEXT)""",
    """CREATE TABLE stream (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(id),
        epoch TEXT NOT NULL, committed INTEGER NOT NULL, touched INTEGER NOT NULL,
        forgotten INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE boot (
        device INTEGER NOT NULL REFERENCES device(id), boot TEXT NOT NULL, offset_ns INTEGER,
        error_ns INTEGER, seen INTEGER NOT NULL, PRIMARY KEY (device, boot)) WITHOUT ROWID""",
    """CREATE TABLE schema (
        id INTEGER PRIMARY KEY, stream INTEGER NOT NULL REFERENCES stream(id),
        sid INTEGER NOT NULL, fingerprint BLOB NOT NULL, resolution INTEGER NOT NULL,
        fields TEXT NOT NULL)""",
    """CREATE TABLE series (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(id),
        metric TEXT NOT NULL, unit TEXT NOT NULL, kind INTEGER NOT NULL,
        last_t_ns INTEGER, last_value, last_clock INTEGER, UNIQUE (device, metric, kind))""",
    """CREATE TABLE journal (
        id INTEGER PRIMARY KEY, received INTEGER NOT NULL, t_min_ns INTEGER, t_max_ns INTEGER,
        readings INTEGER NOT NULL, unknown_time INTEGER NOT NULL, crc INTEGER NOT NULL,
        header BLOB NOT NULL, body BLOB NOT NULL)""",
    # One row for each 256 journal numbers that are complete: finding readings by time needs no
    # index that every commit would have to write.
    """CREATE TABLE span (
        block INTEGER PRIMARY KEY, t_min_ns INTEGER, t_max_ns INTEGER,
        unknown_time INTEGER NOT NULL)""",
    """CREATE TABLE loss (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(id),
        epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        reason INTEGER NOT NULL, readings INTEGER, t INTEGER NOT NULL)""",
    """CREATE TABLE rejected (
        id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(id),
        epoch TEXT NOT NULL, seq INTEGER NOT NULL, code INTEGER NOT NULL,
        reason TEXT NOT NULL, t INTEGER NOT NULL, body BLOB NOT NULL)""",
    """CREATE TABLE revision_due (
        window TEXT NOT NULL, t0 INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES series(id),
        PRIMARY KEY (t0, window, series)) WITHOUT ROWID""",
    """CREATE TABLE summary (
        series INTEGER NOT NULL REFERENCES series(id), window TEXT NOT NULL, t0 INTEGER NOT NULL,
        t1 INTEGER NOT NULL, n INTEGER NOT NULL, mean REAL, min REAL, max REAL, std REAL,
        p50 REAL, p95 REAL, first, last, changes INTEGER, rev INTEGER NOT NULL,
        PRIMARY KEY (series, window, t0)) WITHOUT ROWID""",
    """CREATE TABLE event (
        id INTEGER PRIMARY KEY, t INTEGER NOT NULL, kind TEXT NOT NULL, device TEXT NOT NULL,
        metric TEXT, window TEXT, payload TEXT NOT NULL)""",
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, t INTEGER NOT NULL, topic TEXT NOT NULL, retain INTEGER NOT NULL,
        ends INTEGER, window_ms INTEGER NOT NULL, backfill INTEGER NOT NULL, expires INTEGER,
        replaces INTEGER NOT NULL, properties TEXT NOT NULL, size INTEGER NOT NULL,
        done INTEGER, attempts INTEGER NOT NULL DEFAULT 0, code INTEGER,
        dead INTEGER NOT NULL DEFAULT 0, payload BLOB NOT NULL)""",
    """CREATE TABLE command (
        n INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device(id), seq INTEGER,
        op TEXT NOT NULL, args TEXT, flags INTEGER NOT NULL, expires INTEGER,
        state TEXT NOT NULL, origin TEXT, dedupe TEXT, created INTEGER NOT NULL, result TEXT,
        updated INTEGER NOT NULL)""",
)

INDEXES = (
    "CREATE INDEX loss_device ON loss (device, readings)",
    "CREATE INDEX rejected_device ON rejected (device)",
    "CREATE INDEX outbox_open ON outbox (id, size, t) WHERE done IS NULL AND dead = 0",
    "CREATE INDEX outbox_state ON outbox (topic) WHERE done IS NULL AND dead = 0 AND replaces = 1",
    "CREATE INDEX outbox_done ON outbox (done, size) WHERE done IS NOT NULL",
    "CREATE INDEX outbox_dead ON outbox (t, size) WHERE dead = 1",
    "CREATE INDEX command_device ON command (device, seq)",
    "CREATE INDEX command_dedupe ON command (device, dedupe) WHERE dedupe IS NOT NULL",
    """CREATE INDEX command_open ON command (n)
        WHERE state IN ('queued', 'sent', 'handled', 'accepted')""",
)


def clock_word(value: str) -> str:
    return f"CASE {value} WHEN 0 THEN 'device' WHEN 1 THEN 'mapped' WHEN 2 THEN 'unknown' END"


def iso_ns(t: str) -> str:
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', {t} / 1000000000, 'unixepoch')"
        f" || printf('.%03dZ', {t} / 1000000 % 1000)"
    )


_ISO_MS = "strftime('%Y-%m-%dT%H:%M:%SZ', {0} / 1000, 'unixepoch')"

VIEWS = {
    "latest": f"""CREATE VIEW latest AS
        SELECT device.name AS device, series.metric, series.unit,
            {iso_ns("series.last_t_ns")} AS t, series.last_t_ns AS t_ns,
            series.last_value AS value, {clock_word("series.last_clock")} AS clock
        FROM series JOIN device ON device.id = series.device
        WHERE series.last_clock IS NOT NULL""",  # noqa: S608 - fixed text
    "summaries": f"""CREATE VIEW summaries AS
        SELECT device.name AS device, series.metric, series.unit, summary.window,
            {_ISO_MS.format("summary.t0")} AS begins, {_ISO_MS.format("summary.t1")} AS ends,
            summary.n, summary.mean, summary.min, summary.max, summary.std, summary.p50,
            summary.p95, summary.first, summary.last, summary.changes, summary.rev,
            summary.t0, summary.t1
        FROM summary JOIN series ON series.id = summary.series
            JOIN device ON device.id = series.device""",  # noqa: S608 - fixed text
    # `gateway_readings` gives one JSON array [device, metric, unit, t_ns, value, clock, raw_ns,
    # boot] per reading; store/sql.py registers it.
    "readings": f"""CREATE VIEW readings AS
        SELECT r.value ->> 0 AS device, r.value ->> 1 AS metric, r.value ->> 2 AS unit,
            {iso_ns("(r.value ->> 3)")} AS t, r.value ->> 3 AS t_ns,
            r.value ->> 4 AS value, {clock_word("(r.value ->> 5)")} AS clock,
            r.value ->> 6 AS raw_ns, r.value ->> 7 AS boot, journal.id AS journal
        FROM journal,
            json_each(gateway_readings(journal.header, journal.body, journal.crc)) AS r""",  # noqa: S608 - fixed text
}
