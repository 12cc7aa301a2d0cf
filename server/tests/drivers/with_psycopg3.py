"""psycopg 3 against a running Weir: `psycopg3.py PORT`. Ends with an AssertionError where something differs."""

import datetime as dt
import decimal
import sys
import threading
import uuid

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

PORT = sys.argv[1]


def connect(**options):
    return psycopg.connect(f"host=127.0.0.1 port={PORT} user=weir dbname=weir", **options)


def types_go_out_and_come_back(connection):
    values = {
        "bool": True,
        "int2": -7,
        "int4": 2**31 - 1,
        "int8": -(2**63),
        "float8": 0.1,
        "numeric": decimal.Decimal("12345678901234567890.0123456789"),
        "text": "naïve 'quoted' \\ text",
        "bytea": b"\x00\xff",
        "date": dt.date(1999, 12, 31),
        "time": dt.time(23, 59, 59, 999999),
        "timestamp": dt.datetime(2024, 2, 29, 12, 30),
        "timestamptz": dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone.utc),
        "interval": dt.timedelta(days=3, seconds=4, microseconds=5),
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
        "int4[]": [1, None, 3],
        "text[]": ["a", 'b "c"', None],
    }
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            for name, value in values.items():
                got = cursor.execute(f"SELECT %s::{name}", [value]).fetchone()[0]
                assert got == value, (name, binary, got)
                got = cursor.execute(f"SELECT %s::{name} IS NULL", [None]).fetchone()[0]
                assert got is True, name
            document = {"a": [1, None, "x"], "b": {"c": 1.5}}
            assert cursor.execute("SELECT %s::jsonb", [Jsonb(document)]).fetchone()[0] == document


def rows_have_names_and_types(connection):
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("SELECT 1 AS one, 'x'::text AS word, NULL::date AS day").fetchone()
        assert row == {"one": 1, "word": "x", "day": None}, row
        assert [column.type_code for column in cursor.description] == [23, 25, 1082]


def writes_are_seen_by_views(connection):
    connection.execute("CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, amount numeric(10,2))")
    connection.execute(
        "CREATE MATERIALIZED VIEW spent AS SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer"
    )
    with connection.cursor() as cursor:
        orders = [(i, f"c{i % 3}", decimal.Decimal(i) / 4) for i in range(100)]
        cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s)", orders)
        assert cursor.rowcount == 100, cursor.rowcount
        expected = {}
        for _, customer, amount in orders:
            n, total = expected.get(customer, (0, 0))
            expected[customer] = (n + 1, total + amount)
        got = {row[0]: row[1:] for row in cursor.execute("SELECT customer, n, total FROM spent")}
        assert got == expected, got
        assert cursor.execute("UPDATE orders SET amount = 0 WHERE id < %s", [10]).rowcount == 10
        assert cursor.execute("DELETE FROM orders WHERE customer = %s", ["c0"]).rowcount == 34
        assert cursor.execute("SELECT count(*) FROM spent").fetchone() == (2,)


def statements_are_prepared_after_a_few_runs(connection):
    for i in range(12):
        assert connection.execute("SELECT %s::int + 1", [i], prepare=True).fetchone() == (i + 1,)


def transactions_commit_and_roll_back():
    with connect() as connection:
        with connection.transaction():
            connection.execute("INSERT INTO orders VALUES (1000, 'd', 1)")
        try:
            with connection.transaction():
                connection.execute("INSERT INTO orders VALUES (1001, 'd', 1)")
                raise RuntimeError("back")
        except RuntimeError:
            pass
        found = connection.execute("SELECT id FROM orders WHERE customer = 'd'").fetchall()
        assert found == [(1000,)], found


def errors_have_classes(connection):
    failing = {
        "INSERT INTO orders VALUES (1000, 'again', 1)": psycopg.errors.UniqueViolation,
        "INSERT INTO orders VALUES (2000, NULL, 1)": psycopg.errors.NotNullViolation,
        "SELECT nothing FROM orders": psycopg.errors.UndefinedColumn,
        "SELECT * FROM nowhere": psycopg.errors.UndefinedTable,
        "SELECT 1/0": psycopg.errors.DivisionByZero,
        "SELECT 2147483647 + 1": psycopg.errors.NumericValueOutOfRange,
        "SELEC 1": psycopg.errors.SyntaxError,
        "SELECT 'x'::int": psycopg.errors.InvalidTextRepresentation,
    }
    for statement, kind in failing.items():
        try:
            connection.execute(statement)
        except kind:
            continue
        raise AssertionError(f"{statement} should raise {kind.__name__}")
    assert connection.execute("SELECT 1").fetchone() == (1,)


def a_cancel_ends_a_long_query():
    with connect(autocommit=True) as connection:
        timer = threading.Timer(0.2, connection.cancel)
        timer.start()
        try:
            connection.execute("SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b")
        except psycopg.errors.QueryCanceled:
            pass
        else:
            raise AssertionError("the query was not cancelled")
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def blocks_nest(connection):
    class Undo(Exception):
        pass

    with connect() as other, other.transaction():
        other.execute("CREATE TABLE nested (k serial PRIMARY KEY, v int)")
        other.execute("INSERT INTO nested (v) VALUES (1)")
        try:
            with other.transaction():
                other.execute("INSERT INTO nested (v) VALUES (2)")
                other.execute("CREATE TABLE undone (k int)")
                raise Undo
        except Undo:
            pass
        try:
            with other.transaction():
                other.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero:
            pass
        with other.transaction():
            other.execute("INSERT INTO nested (v) VALUES (3)")
        assert not connection.execute("SELECT 1 FROM pg_class WHERE relname = 'nested'").fetchall()
    assert connection.execute("SELECT v FROM nested ORDER BY v").fetchall() == [(1,), (3,)]
    assert not connection.execute("SELECT 1 FROM pg_class WHERE relname = 'undone'").fetchall()


def rows_stream(connection):
    with connection.cursor() as cursor:
        for i, (n,) in enumerate(cursor.stream("SELECT generate_series(1, 20000)"), start=1):
            assert n == i
        assert i == 20000


def main():
    with connect(autocommit=True) as connection:
        types_go_out_and_come_back(connection)
        rows_have_names_and_types(connection)
        writes_are_seen_by_views(connection)
        statements_are_prepared_after_a_few_runs(connection)
        transactions_commit_and_roll_back()
        errors_have_classes(connection)
        a_cancel_ends_a_long_query()
        rows_stream(connection)
        blocks_nest(connection)
    print("psycopg 3: ok")


main()
