#!/usr/bin/env python3
"""Writes first inputs for the fuzz targets, made of what real servers wrote: seeds.py FOLDER (a folder per target)."""
import hashlib
import pathlib
import struct
import sys

DATA = pathlib.Path(__file__).parent.parent / "tests/data"
OUT = pathlib.Path(sys.argv[1])
TABLE_MAP, TRANSACTION_PAYLOAD = 19, 40
ROWS = [20, 21, 22, 23, 24, 25, 30, 31, 32, 39]  # as in fuzz_targets/rows.rs
LARGEST = 8192  # the -max_len of deploy/fuzz.sh


def seed(target, data):
    if len(data) <= LARGEST:
        folder = OUT / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def counted(data):
    return struct.pack("<H", len(data)) + data


def events(log):
    at = 4
    while at < len(log):
        size = struct.unpack_from("<I", log, at + 9)[0]
        yield log[at:at + size]
        at += size


def fields(body):
    """The tagged fields of a TRANSACTION_PAYLOAD; the last is the data."""
    at = 0
    while body[at]:
        length = body[at + 1]
        at += 2 + length
    return body[at + 1:]


for path in sorted((DATA / "logs").glob("*.binlog")):
    log = path.read_bytes()
    family = 2 if path.name.startswith("ma") else 1
    columns = path.parent / f"{path.name.split('_')[0]}.columns"
    definitions = {}
    for line in columns.read_text().splitlines() if columns.exists() else []:
        table, rest = line.split("\t", 1)
        definitions.setdefault(table, []).append(rest)

    for piece in (0, 100, 255):
        seed("file", bytes([piece]) + log[:LARGEST - 1])
    first, *rest = [e for e in events(log) if len(e) <= 3000]
    window, maps = [], {}
    for event in rest:
        code, body = event[4], event[19:-4]
        window.append(counted(event))
        if len(window) == 12:
            seed("events", counted(first) + b"".join(window))
            window = window[8:]
        if code == TABLE_MAP:
            name_at = 9 + body[8] + 1
            name = body[name_at + 1:name_at + 1 + body[name_at]].decode()
            maps[body[:6]] = (body, "\n".join(definitions.get(name, [])).encode())
        elif code in ROWS and body[:6] in maps:
            table_map, definition = maps[body[:6]]
            head = bytes([family, ROWS.index(code)])
            seed("rows", head + counted(table_map) + counted(definition) + counted(body))
        elif code == TRANSACTION_PAYLOAD:
            seed("payload", b"\0" + fields(body))
        seed("payload", b"\1" + b"".join(event for event in rest[:5]))
    seed("events", counted(first) + b"".join(window))
    for event in rest:
        seed("payload", b"\1" + event)

collations = {}
for line in (DATA / "collations.tsv").read_text().splitlines():
    number, name = line.split("\t")
    collations.setdefault(name, int(number))

for path in sorted(DATA.glob("values-*.tsv")):
    for line in path.read_text().splitlines():
        kind, value, *_ = line.split("\t")
        value = bytes.fromhex(value)
        digits = [int(n) for n in kind[kind.find("(") + 1:kind.find(")")].split(",")] if "(" in kind else [0]
        if kind == "json" and len(value) < LARGEST:
            seed("json", counted(value[4:]))
        elif len(value) >= LARGEST:
            continue
        elif " character set " in kind:
            collation = collations.get(kind.rsplit(" ", 1)[1], 0)
            seed("values", b"\0" + struct.pack("<H", collation) + value[1:])
        elif kind.startswith("decimal"):
            seed("values", bytes([1, *digits]) + value)
        elif kind in ("float", "double"):
            seed("values", b"\3\0\0" + value)
        else:
            seed("values", bytes([2, digits[0], 0]) + value)
seed("values", b"\4\0\0text \"with\" \\ and \x01 \xc3\xa9 \xff")

for line in (DATA / "json-diffs.tsv").read_text().splitlines():
    before, diff, *_ = line.split("\t")
    seed("json", counted(bytes.fromhex(before)) + bytes.fromhex(diff))

UUIDS = ["3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563"]
for text in [f"{UUIDS[0]}:1-5:7-9\n{UUIDS[0]}:4-8", f"{UUIDS[0]}:1,{UUIDS[1]}:tag:1-3:other:9\n{UUIDS[1]}:2", "0-1-5,1-2-7\n0-1-6", "\n"]:
    seed("gtid", b"\0" + text.encode())


def interval(first, end):
    return struct.pack("<QQ", first, end)


def entry(uuid, tag, *intervals):
    return bytes.fromhex(uuid.replace("-", "")) + tag + struct.pack("<Q", len(intervals)) + b"".join(intervals)


plain = struct.pack("<Q", 1) + entry(UUIDS[0], b"", interval(1, 6), interval(7, 10))
tagged = struct.pack("<Q", 1 << 56 | 2 << 8 | 1) + entry(UUIDS[0], b"\0", interval(3, 8)) + entry(UUIDS[0], b"\6tag", interval(1, 2))
for a, b in [(plain, tagged), (tagged, plain), (struct.pack("<Q", 0), plain)]:
    seed("gtid", b"\1" + counted(a) + b)
