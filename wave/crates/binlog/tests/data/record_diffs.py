#!/usr/bin/env python3
"""Records partial updates of JSON columns (`binlog_row_value_options = PARTIAL_JSON`).

    record_diffs.py DATADIR CLIENT... > json-diffs.tsv      (arguments as in record.py; MySQL 8.0 or newer)

Each line: document before the update and operations as in the log, text after it as SELECT prints it; all in hex,
separated by tabs.
"""
import pathlib
import struct
import sys

from record import logs, run

PAD = "REPEAT('x', 200)"
BEFORE = f"JSON_OBJECT('a', 1, 'b c', JSON_ARRAY(1, 2, JSON_OBJECT('k', {PAD}), 4), 'd', JSON_OBJECT('é', {PAD}, 'q\"\\\\', 1), 'n', NULL)"
UPDATES = [
    "JSON_SET(v, '$.a', 2)", "JSON_SET(v, '$.a', 'text')", "JSON_REPLACE(v, '$.\"b c\"[1]', 2.50)",
    "JSON_SET(v, '$.new', 1)", "JSON_SET(v, '$.zz', JSON_ARRAY(1, JSON_OBJECT()))", "JSON_SET(v, '$.\"\"', 1)",
    "JSON_SET(v, '$.\"b c\"[99]', 'end')", "JSON_SET(v, '$.\"b c\"[last]', 'last')", "JSON_SET(v, '$.\"b c\"[last-1].k', 7)",
    "JSON_REMOVE(v, '$.a')", "JSON_REMOVE(v, '$.\"b c\"[0]')", "JSON_REMOVE(v, '$.\"b c\"[last]')", "JSON_REMOVE(v, '$.d')",
    "JSON_SET(v, '$.d.\"é\"', 'ü')", "JSON_SET(v, '$.d.\"q\\\\\"\\\\\\\\\"', 2)", "JSON_SET(v, '$.n', DATE'2024-02-29')",
    "JSON_SET(JSON_SET(v, '$.a', 5), '$.new', 6)", "JSON_REMOVE(JSON_SET(v, '$.a', 5), '$.n')", "JSON_SET(v, '$.a[0]', 9)",
    "JSON_SET(v, '$.a[3]', 9)", "JSON_SET(v, '$.a', CAST(REPEAT('z', 60) AS BINARY))", "JSON_SET(v, '$.bb', 1, '$.ab', 2, '$.c', 3)",
    "JSON_REMOVE(v, '$.\"b c\"[0]', '$.\"b c\"[0]')", "JSON_SET(v, '$.a', v->'$.d')", "JSON_SET(v, '$.missing.x', 1)",
    "JSON_REPLACE(v, '$.a', 1)", "JSON_SET(v, '$.\"tab\\tnew\"', 1)", "JSON_SET(v, '$.d', REPEAT('y', 300))",
]


def number(body, at):
    """A length-encoded integer below 2^16, and where it ends."""
    return (body[at], at + 1) if body[at] < 251 else (struct.unpack_from("<H", body, at + 1)[0], at + 3)


def counted(body, at):
    length = struct.unpack_from("<I", body, at)[0]
    return body[at + 4 : at + 4 + length], at + 4 + length


def main():
    datadir, client = pathlib.Path(sys.argv[1]), sys.argv[2:]
    sql = ["DROP DATABASE IF EXISTS recorded; CREATE DATABASE recorded; USE recorded; FLUSH BINARY LOGS;",
           "CREATE TABLE j (id INT PRIMARY KEY, v JSON); SET binlog_row_value_options = PARTIAL_JSON;"]
    for index, update in enumerate(UPDATES):
        sql.append(f"INSERT INTO j VALUES ({index}, {BEFORE}); UPDATE j SET v = {update} WHERE id = {index};")
    before_logs = logs(datadir)
    run(client, "\n".join(sql))
    after = dict(line.split("\t", 1) for line in run(client, "SELECT id, v FROM recorded.j;"))
    for log in sorted(logs(datadir) - before_logs):
        content, at = log.read_bytes(), 4
        while at + 19 <= len(content):
            kind, length = content[at + 4], struct.unpack_from("<I", content, at + 9)[0]
            body = content[at + 19 : at + length - 4]
            at += length
            if kind != 39:
                continue
            row = 8 + int.from_bytes(body[8:10], "little") + 3  # behind the column count and two bitmaps
            index = struct.unpack_from("<I", body, row + 1)[0]
            before, end = counted(body, row + 5)
            options, end = number(body, end)
            if options & 1 and body[end] & 1:
                diff, end = counted(body, end + 6)  # behind the bits of partial columns, of NULLs, and the id
                assert end == len(body)
                print(before.hex(), diff.hex(), after[str(index)].encode().hex(), sep="\t")
    run(client, "DROP DATABASE recorded;")


main()
