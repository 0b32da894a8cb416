# py_meter.py - what the Python contenders have in common; meter.lua tells the rules.
# SPDX-License-Identifier: MIT
import sys
import time


def leave(why):
    print(why, file=sys.stderr)
    sys.exit(3)


def key(i, keys):
    return i * 7919 % keys + 1


def event(i):
    return i, "event number %d" % (i % 1000), i + 0.25


def items_check(rows):
    """Adds up what the rows of item contain; `rows` are sequences of the eight values."""
    big = number = lengths = active = 0
    ratio = price = 0.0
    for row in rows:
        number += row[0]
        big += row[1]
        lengths += len(row[2]) + len(row[3])
        active += row[4] is True
        ratio += row[5]
        price += float(row[7])
    return "%d/%d/%d/%d/%.3f/%.2f" % (number, big, lengths, active, ratio, price)


def arguments(version):
    if sys.argv[1] == "--probe":
        print("%s, Python %s" % (version, sys.version.split()[0]))
        sys.exit(0)
    return sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def start():
    return time.perf_counter(), time.process_time()


def report(started, units, check="-"):
    cpu = time.process_time() - started[1]
    wall = time.perf_counter() - started[0]
    return "%.9f %.9f %d %s" % (cpu, wall, units, check)
