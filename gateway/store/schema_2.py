"""The SQL of the second schema: readings in chunks, what was dropped, summaries by time, users,
alerts.

What the broker has acknowledged is kept as runs of row numbers: the rows themselves are written
once, so that an acknowledgement dirties two small pages whatever the messages weigh.

A new summary stands beside those of the same moment, so that the end of a window dirties a page
or two whatever the number of series, and the oldest summaries leave whole pages behind.
"""

from gateway.store.schema_1 import VIEWS, clock_word, iso_ns

CHUNKS = (
    # t_min_ns and t_max_ns are NULL while the clock of the readings' boot is unknown.
    """CREATE TABLE chunk (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series(id),
        t_min_ns INTEGER, t_max_ns INTEGER, readings INTEGER NOT NULL, row INTEGER NOT NULL,
        crc INTEGER NOT NULL, body BLOB NOT NULL)""",
    "CREATE INDEX chunk_time ON chunk (series, t_min_ns, t_max_ns)",
    "CREATE INDEX chunk_age ON chunk (t_max_ns)",
    """CREATE TABLE dropped (
        day INTEGER NOT NULL, cause TEXT NOT NULL, what TEXT NOT NULL, n INTEGER NOT NULL,
        t_min INTEGER, t_max INTEGER, PRIMARY KEY (day, cause, what)) WITHOUT ROWID""",
)

SUMMARIES = (
    "DROP VIEW summaries",
    "ALTER TABLE summary RENAME TO summary_1",
    """CREATE TABLE summary (
        series INTEGER NOT NULL REFERENCES series(id), window TEXT NOT NULL, t0 INTEGER NOT NULL,
        t1 INTEGER NOT NULL, n INTEGER NOT NULL, mean REAL, min REAL, max REAL, std REAL,
        p50 REAL, p95 REAL, first, last, changes INTEGER, rev INTEGER NOT NULL,
        PRIMARY KEY (window, t0, series)) WITHOUT ROWID""",
    "INSERT INTO summary SELECT * FROM summary_1 ORDER BY window, t0, series",
    "DROP TABLE summary_1",
    VIEWS["summaries"],
    # The newest summary of each series and length, so that a start need not look for it.
    """CREATE TABLE newest (
        series INTEGER NOT NULL REFERENCES series(id), window TEXT NOT NULL, t0 INTEGER NOT NULL,
        PRIMARY KEY (series, window)) WITHOUT ROWID""",
    "INSERT INTO newest SELECT series, window, max(t0) FROM summary GROUP BY series, window",
)

SETTLED = (
    # Until now every commit wrote where its streams stand.
    "INSERT INTO meta SELECT 'settled_row', max(id) FROM journal HAVING max(id) IS NOT NULL",
    "DELETE FROM meta WHERE key = 'fold_from'",
)

_READING = f"""SELECT r.value ->> 0 AS device, r.value ->> 1 AS metric, r.value ->> 2 AS unit,
    {iso_ns("(r.value ->> 3)")} AS t, r.value ->> 3 AS t_ns,
    r.value ->> 4 AS value, {clock_word("(r.value ->> 5)")} AS clock,
    r.value ->> 6 AS raw_ns, r.value ->> 7 AS boot"""

# The functions give one JSON array [device, metric, unit, t_ns, value, clock, raw_ns, boot] per
# reading; store/sql.py registers them.
READINGS = (
    "DROP VIEW readings",
    f"""CREATE VIEW readings AS
        {_READING}, NULL AS journal
        FROM chunk,
            json_each(gateway_chunk_readings(chunk.series, chunk.crc, chunk.body)) AS r
        UNION ALL
        {_READING}, journal.id AS journal
        FROM journal,
            json_each(gateway_readings(journal.header, journal.body, journal.crc)) AS r""",
)

OUTBOX = (
    "DROP INDEX outbox_open",
    "DROP INDEX outbox_state",
    "DROP INDEX outbox_done",
    # What is still to be sent. `state`: the topic of a row that a newer one replaces.
    """CREATE TABLE outbox_open (
        id INTEGER PRIMARY KEY REFERENCES outbox(id), t INTEGER NOT NULL, size INTEGER NOT NULL,
        state TEXT)""",
    "CREATE INDEX outbox_state ON outbox_open (state, id) WHERE state IS NOT NULL",
    # Rows `first` … `last` were acknowledged, all of them, at `done`.
    """CREATE TABLE outbox_done (
        id INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL,
        done INTEGER NOT NULL, bytes INTEGER NOT NULL)""",
    """INSERT INTO outbox_open SELECT id, t, size, CASE WHEN replaces THEN topic END FROM outbox
        WHERE done IS NULL AND dead = 0""",
    """INSERT INTO outbox_done (first, last, done, bytes) SELECT id, id, done, size FROM outbox
        WHERE done IS NOT NULL ORDER BY done""",
    "ALTER TABLE outbox DROP COLUMN done",
)

# Who may look. `hash` is SHA-256 in hex, `password` a salted hash in PHC form.
ACCOUNTS = (
    """CREATE TABLE user (
        name TEXT PRIMARY KEY, password TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE access_token (
        name TEXT PRIMARY KEY, hash TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE sign_in (
        hash TEXT PRIMARY KEY, user TEXT NOT NULL REFERENCES user(name),
        created INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID""",
)

ALERTS = (
    # Rows stay when an alert closes: the highest number is found in them.
    """CREATE TABLE alert (
        rule TEXT NOT NULL, device TEXT NOT NULL, metric TEXT NOT NULL, id INTEGER,
        state TEXT NOT NULL, since INTEGER NOT NULL, out_since_ns INTEGER, t_ns INTEGER,
        payload TEXT NOT NULL, PRIMARY KEY (rule, device, metric)) WITHOUT ROWID""",
)

SECOND = (*CHUNKS, *SUMMARIES, *SETTLED, *READINGS, *OUTBOX, *ACCOUNTS, *ALERTS)
