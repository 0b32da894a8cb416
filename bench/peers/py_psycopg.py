# psycopg 3. It prepares by itself after five executions; prepare=True asks for it at once.
# SPDX-License-Identifier: MIT
import re

import py_meter as meter

try:
    import psycopg
    from psycopg.rows import dict_row, tuple_row
except ImportError:
    meter.leave("psycopg 3 is not installed for this Python")

question, n, url, sql = meter.arguments("psycopg %s (%s)" % (psycopg.__version__, psycopg.pq.__impl__))
sql = re.sub(r"\$\d", "%s", sql)
conn = psycopg.connect(url, autocommit=not question.startswith("inserts"))
cursor = conn.cursor(row_factory=dict_row if question == "rows_named" else tuple_row)


def by_key(keys, prepare):
    def ask(number):
        cursor.execute(sql, (number,), prepare=prepare)
        return cursor.fetchone()

    def run(count):
        return sum(ask(meter.key(i, keys)) is not None for i in range(1, count + 1))

    return ask, run


check = None
if question in ("one_row_prepared", "same_text", "small_row"):
    ask, run = by_key(10000, None if question == "same_text" else True)

    def check():
        return sum(row[0] + sum(map(len, row[1:])) for row in map(ask, range(1, 101)))
elif question == "int4_array":
    ask, run = by_key(1000, True)

    def check():
        return sum(sum(ask(number)[0]) for number in range(1, 101))
elif question in ("rows_named", "rows_array"):
    def rows():
        cursor.execute(sql, prepare=True)
        return cursor.fetchall()

    def run(count):
        return sum(len(rows()) for _ in range(count))

    def check():
        return meter.items_check([list(row.values()) if question == "rows_named" else row for row in rows()])
elif question == "inserts":
    def run(count):
        for i in range(1, count + 1):
            cursor.execute(sql, meter.event(i), prepare=True)
        conn.commit()
        return count
elif question == "inserts_batched":
    def run(count):  # in pipeline mode
        cursor.executemany(sql, (meter.event(i) for i in range(1, count + 1)))
        conn.commit()
        return count
elif question == "inserts_bulk":
    def run(count):
        for first in range(1, count + 1, 1000):
            rows = [meter.event(i) for i in range(first, min(first + 1000, count + 1))]
            cursor.execute(sql, [list(column) for column in zip(*rows)], prepare=True)
        conn.commit()
        return count
elif question == "stream_200000":
    def rows():  # in libpq's single-row mode
        return conn.cursor(row_factory=dict_row).stream(sql)

    def run(count):
        return sum(1 for _ in range(count) for _ in rows())

    def check():
        return meter.items_check(list(row.values()) for row in rows())
elif question == "copy_in":
    def run(count):
        with cursor.copy(sql + " (format binary)") as copy:
            copy.set_types(("int4", "text", "float8"))
            for i in range(1, count + 1):
                copy.write_row(meter.event(i))
        return count
elif question == "copy_out_raw":
    def run(count):
        with cursor.copy("copy (%s) to stdout" % (sql % count)) as copy:
            return sum(bytes(piece).count(b"\n") for piece in copy)
elif question == "copy_out_rows":
    def run(count):
        with cursor.copy("copy (%s) to stdout (format binary)" % (sql % count)) as copy:
            copy.set_types(("int4", "text", "float8"))
            return sum(1 for _ in copy.rows())
else:
    meter.leave("does not do this")

if not meter.writes(question):
    run(n // 10 + 1)
started = meter.start()
units = run(n)
line = meter.report(started, units, "%s")
print(line % (check() if check else "-"))
