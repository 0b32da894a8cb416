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


def lines():
    """The rows of event as COPY text, in pieces of some 64 kB."""
    piece, size = [], 0

    def put(i):
        nonlocal size
        line = "%d\t%s\t%r\n" % event(i)
        piece.append(line)
        size += len(line)
        if size < 65536:
            return None
        size = 0
        text = "".join(piece)
        piece.clear()
        return text

    return put, lambda: "".join(piece)


def peak_memory(reset=False):
    """In kB; 0 where /proc does not tell."""
    try:
        if reset:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        with open("/proc/self/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def start():
    memory = peak_memory(True)
    return time.perf_counter(), time.process_time(), memory


def report(started, units, check="-"):
    cpu = time.process_time() - started[1]
    wall = time.perf_counter() - started[0]
    return "%d %.9f %.9f %d %s" % (max(0, peak_memory() - started[2]), cpu, wall, units, check)


def writes(question):
    return question.startswith("inserts") or question == "copy_in"  # a rehearsal would leave rows
