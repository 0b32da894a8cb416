# psycopg2. It has no server-side parameters and prepares nothing by itself: the prepared questions use PREPARE and
# EXECUTE in SQL, as its users do.
# SPDX-License-Identifier: MIT
import re

import py_meter as meter

try:
    import psycopg2
    import psycopg2.extras
except ImportError:
    meter.leave("psycopg2 is not installed for this Python")

question, n, url, sql = meter.arguments("psycopg2 " + psycopg2.__version__.split()[0])
conn = psycopg2.connect(url)
cursor = conn.cursor()


def by_key(keys, text):
    def ask(number):
        cursor.execute(text, (number,))
        return cursor.fetchone()

    def run(count):
        return sum(ask(meter.key(i, keys)) is not None for i in range(1, count + 1))

    return ask, run


def prepared():
    cursor.execute("prepare s as " + sql)
    return "execute s (%s)"


check = None
if question in ("one_row_prepared", "same_text", "small_row"):
    ask, run = by_key(10000, prepared() if question != "same_text" else re.sub(r"\$\d", "%s", sql))

    def check():
        return sum(row[0] + sum(map(len, row[1:])) for row in map(ask, range(1, 101)))
elif question == "int4_array":
    ask, run = by_key(1000, prepared())

    def check():
        return sum(sum(ask(number)[0]) for number in range(1, 101))
elif question in ("rows_named", "rows_array"):
    named = question == "rows_named"
    cursor = conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor if named else None)
    prepared()

    def rows():
        cursor.execute("execute s")
        return cursor.fetchall()

    def run(count):
        return sum(len(rows()) for _ in range(count))

    def check():
        return meter.items_check([list(row.values()) if named else row for row in rows()])
elif question == "inserts":
    cursor.execute("prepare s as " + sql)
    conn.commit()

    def run(count):
        for i in range(1, count + 1):
            cursor.execute("execute s (%s, %s, %s)", meter.event(i))
        conn.commit()
        return count
elif question == "inserts_bulk":
    def run(count):
        psycopg2.extras.execute_values(
            cursor, "insert into luphant_bench.event (id, name, amount) values %s",
            (meter.event(i) for i in range(1, count + 1)), page_size=1000)
        conn.commit()
        return count
elif question == "stream_200000":
    def rows():  # a cursor on the server, fetched by 2000 rows
        with conn.cursor("stream", cursor_factory=psycopg2.extras.RealDictCursor) as named:
            named.execute(sql)
            yield from named

    def run(count):
        return sum(1 for _ in range(count) for _ in rows())

    def check():
        return meter.items_check(list(row.values()) for row in rows())
elif question == "copy_in":
    class Source:  # psycopg2 reads as from a file
        def __init__(self, count):
            self.rows = iter(range(1, count + 1))
            self.put, self.rest = meter.lines()

        def read(self, size):
            for i in self.rows:
                text = self.put(i)
                if text:
                    return text
            text, self.rest = self.rest(), str
            return text

    def run(count):
        cursor.copy_expert(sql, Source(count), size=1 << 20)
        conn.commit()
        return count
elif question == "copy_out_raw":
    class Sink:
        lines = 0

        def write(self, text):
            self.lines += text.count(b"\n")

    def run(count):
        sink = Sink()
        cursor.copy_expert("copy (%s) to stdout" % (sql % count), sink)
        return sink.lines
else:
    meter.leave("does not do this")

if not meter.writes(question):
    run(n // 10 + 1)
started = meter.start()
units = run(n)
line = meter.report(started, units, "%s")
print(line % (check() if check else "-"))
