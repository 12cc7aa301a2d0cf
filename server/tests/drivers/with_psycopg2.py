"""psycopg2 against a running Weir: `with_psycopg2.py PORT`. It puts parameters into the text on the client's side."""

import datetime as dt
import decimal
import sys

import psycopg2
import psycopg2.extras

PORT = sys.argv[1]


def main():
    connection = psycopg2.connect(f"host=127.0.0.1 port={PORT} user=weir dbname=weir")
    assert connection.server_version >= 140000
    # psycopg2 opens a block before the first statement.
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz, price numeric(8,2), tags text[])")
        cursor.execute("CREATE MATERIALIZED VIEW names AS SELECT name, count(*) AS n FROM t GROUP BY name")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE t ADD COLUMN gone int")
    connection.rollback()
    at = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc)
    rows = [(i, f"it's {i}", at, decimal.Decimal("1.25") * i, ["a", f"b{i}"]) for i in range(50)]
    with connection, connection.cursor() as cursor:
        psycopg2.extras.execute_values(cursor, "INSERT INTO t VALUES %s", rows)
        assert cursor.rowcount == 50, cursor.rowcount
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM t WHERE id BETWEEN %s AND %s ORDER BY id", (10, 12))
        assert cursor.fetchall() == rows[10:13]
        cursor.execute("SELECT %s::bytea, %s::jsonb", (b"\x00\x01\xff", psycopg2.extras.Json({"a": [1]})))
        raw, document = cursor.fetchone()
        assert (bytes(raw), document) == (b"\x00\x01\xff", {"a": [1]})
    with connection.cursor() as cursor:
        try:
            cursor.execute("INSERT INTO t (id) VALUES (1)")
            connection.commit()
        except psycopg2.errors.UniqueViolation as error:
            assert error.diag.sqlstate == "23505" and error.diag.message_detail, error.diag.message_detail
        else:
            raise AssertionError("a duplicate key went in")
        connection.rollback()
        try:
            cursor.execute("SELECT nothing")
        except psycopg2.errors.UndefinedColumn:
            pass
        else:
            raise AssertionError("a column that is not there was read")
        try:
            cursor.execute("SELECT 1")
        except psycopg2.errors.InFailedSqlTransaction:
            connection.rollback()
        else:
            raise AssertionError("a failed transaction went on")
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (50,)
        cursor.execute("SELECT sum(n) FROM names")
        assert cursor.fetchone() == (50,)
    connection.close()
    print("psycopg2: ok")


main()
