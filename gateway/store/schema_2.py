"""The SQL of the second schema: readings in chunks, what retention dropped, summaries by time.

A new summary stands beside those of the same moment, so that the end of a window dirties a page
or two whatever the number of series, and the oldest summaries leave whole pages behind.
"""

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
)
