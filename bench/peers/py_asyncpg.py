# asyncpg, on uvloop where that is installed. It speaks the protocol itself, without libpq.
# SPDX-License-Identifier: MIT
import asyncio

import py_meter as meter

try:
    import asyncpg
except ImportError:
    meter.leave("asyncpg is not installed for this Python")
try:
    import uvloop
    uvloop.install()
    version = "asyncpg %s on uvloop %s" % (asyncpg.__version__, uvloop.__version__)
except ImportError:
    version = "asyncpg %s" % asyncpg.__version__

question, n, url, sql = meter.arguments(version)


async def by_key(conn, keys, prepared):
    statement = await conn.prepare(sql)

    async def ask(number):
        return await (statement.fetchrow(number) if prepared else conn.fetchrow(sql, number))

    async def run(count):
        units = 0
        for i in range(1, count + 1):
            units += await ask(meter.key(i, keys)) is not None
        return units

    return ask, run


async def main():
    conn = await asyncpg.connect(url)
    check = None
    if question in ("one_row_prepared", "same_text", "in_coroutine", "small_row"):
        ask, run = await by_key(conn, 10000, question != "same_text")

        async def check():
            rows = [await ask(number) for number in range(1, 101)]
            return sum(row[0] + sum(map(len, list(row)[1:])) for row in rows)
    elif question == "int4_array":
        ask, run = await by_key(conn, 1000, True)

        async def check():
            return sum([sum((await ask(number))[0]) for number in range(1, 101)])
    elif question == "rows_named":  # its records are both named and positional
        statement = await conn.prepare(sql)

        async def run(count):
            return sum([len(await statement.fetch()) for _ in range(count)])

        async def check():
            return meter.items_check(await statement.fetch())
    elif question == "inserts":
        statement = await conn.prepare(sql)

        async def run(count):
            async with conn.transaction():
                for i in range(1, count + 1):
                    await statement.fetch(*meter.event(i))
            return count
    elif question == "inserts_batched":
        async def run(count):  # one flight, one transaction
            await conn.executemany(sql, (meter.event(i) for i in range(1, count + 1)))
            return count
    elif question == "inserts_bulk":
        statement = await conn.prepare(sql)

        async def run(count):
            async with conn.transaction():
                for first in range(1, count + 1, 1000):
                    rows = [meter.event(i) for i in range(first, min(first + 1000, count + 1))]
                    await statement.fetch(*[list(column) for column in zip(*rows)])
            return count
    elif question == "stream_200000":
        async def rows(use):  # a portal, the next 1000 rows asked for when these are used up
            units = 0
            async with conn.transaction():
                async for row in conn.cursor(sql, prefetch=1000):
                    units += 1
                    if use:
                        use(row)
            return units

        async def run(count):
            return sum([await rows(None) for _ in range(count)])

        async def check():
            seen = []
            await rows(seen.append)
            return meter.items_check(seen)
    elif question == "copy_in":
        async def run(count):
            records = (meter.event(i) for i in range(1, count + 1))
            await conn.copy_records_to_table(
                "event", schema_name="luphant_bench", columns=("id", "name", "amount"), records=records)
            return count
    elif question == "copy_out_raw":
        async def run(count):
            units = 0

            async def take(piece):
                nonlocal units
                units += piece.count(b"\n")

            await conn.copy_from_query(sql % count, output=take)
            return units
    else:
        meter.leave("does not do this")
    if not meter.writes(question):
        await run(n // 10 + 1)
    started = meter.start()
    units = await run(n)
    line = meter.report(started, units, "%s")
    print(line % (await check() if check else "-"))
    await conn.close()


asyncio.run(main())
