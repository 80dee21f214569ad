#!/usr/bin/env python3
"""Records values as they stand in a server's binary log beside the text that its SELECT prints.

    record.py LABEL DATADIR CLIENT... > values-LABEL.tsv

DATADIR is the server's data directory, whose log files start with `binlog.` or `mysql-bin.`; CLIENT a client command
line that reads SQL from its standard input, with the right to create the database `recorded`, which is dropped.
Needs row images in full, no compression of the log, and nobody else writing.

Each line: column type, bytes in the row image (hex), text from SELECT (hex, UTF-8; of binary types the bytes), all
separated by tabs. Types: what CREATE TABLE says, and `old:` before types of the format before 5.6.
"""
import pathlib
import struct
import subprocess
import sys

DATES = ["2024-02-29", "0000-00-00", "2024-00-00", "2024-02-31", "0003-01-01", "9999-12-31", "1000-01-01"]
CLOCK = ["00:00:00", "23:59:59.999999", "12:34:56.7", "00:00:00.000001", "01:02:03.04", "10:11:12.5"]
TIMES = ["00:00:00", "838:59:59", "-838:59:59", "-00:00:00.1", "-00:00:00.000001", "-00:00:01", "-00:00:01.999999",
         "-01:00:00.5", "12:34:56.789012", "-12:34:56.789012", "99:59:59.99", "100:00:00", "-100:00:00.000009"]
TIMESTAMPS = ["1970-01-01 00:00:01", "2038-01-19 03:14:07", "2024-02-29 23:59:59.999999", "2000-03-01 00:00:00.5",
              "2000-02-29 12:00:00", "1999-12-31 23:59:59.000001", "0000-00-00 00:00:00", "2023-12-31 00:00:00",
              "1972-02-29 01:02:03", "2100-03-01 00:00:00"]
DECIMALS = {
    (10, 2): ["0", "-0.50", "99999999.99", "-99999999.99", "0.01", "-1", "1234567.8"],
    (65, 30): ["9" * 35 + "." + "9" * 30, "-" + "9" * 35 + "." + "9" * 30, "0", "-0." + "0" * 29 + "1", "123.456"],
    (1, 0): ["9", "-9", "0"], (30, 30): ["-0." + "1" * 30, "0", "0." + "0" * 29 + "9"], (9, 0): ["999999999", "-1"],
    (18, 9): ["123456789.000000001", "-0.000000001"], (65, 0): ["9" * 65, "-" + "9" * 65, "1" + "0" * 64],
    (19, 10): ["-100000000.0000000001", "999999999.9999999999"], (14, 4): ["1234567890.1234", "-10.0100"],
    (5, 5): ["0.00001", "-0.99999"], (2, 1): ["-0.1", "9.9"], (11, 3): ["1.001", "-10000000.010"],
}
DOUBLES = ["0", "-0e0", "1", "0.1", "-1.1", "1e14", "1e15", "123456789012345.6", "1234567890123456", "1234567890123456.7",
           "2251799813685248.5", "1e16", "1e20", "1e-14", "1e-15", "1e-16", "1.5e-15", "1.234567890123456e-15",
           "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "3.141592653589793",
           "123456789012345678", "4503599627370496.5", "9007199254740993", "1e100", "-1.2345678901234567e-10", "1e22", "1e23"]
FLOATS = ["0", "1.1", "-0.1", "1e20", "3.40282e38", "1e-38", "0.000123", "1e15", "1e14", "1e-15", "1e-16", "123456", "1.17549e-38"]
JSONS = ["'{\"a\": 1, \"b\": [1, 2.5]}'", "'null'", "'true'", "'false'", "'0'", "'-1'", "'32767'", "'32768'", "'-32768'",
         "'65535'", "'65536'", "'2147483647'", "'4294967296'", "'-9223372036854775808'", "'18446744073709551615'",
         "'9223372036854775808'", "'1.0'", "'1e20'", "'0.1'", "'1e-7'", "'1e15'", "'1e-16'", "'-0.0'", "'123456789012345678901234567890'",
         "'\"\"'", "'[]'", "'{}'", "'[[], {}, [[]]]'", "'{\"\": \"\", \"bb\": 1, \"a\": {\"z\": null, \"y\": [true, false]}}'",
         "'\"a\\\\\"b\\\\\\\\c\\\\/d\\\\b\\\\f\\\\n\\\\r\\\\t\\\\u0000\\\\u001f\\\\u007f\\\\u00e9\\\\u20ac\\\\ud83d\\\\ude00\"'",
         "'[1, 32768, 65536, 4294967296, -32769, 1.5, \"x\", null, true]'",
         "JSON_QUOTE(REPEAT('x', 127))", "JSON_QUOTE(REPEAT('x', 128))", "JSON_QUOTE(REPEAT('y', 2000))",
         "JSON_ARRAY(1.10, -0.50, 0.0, 12345678901234567890.123456789)",
         "JSON_ARRAY(DATE'2024-02-29', TIME'-838:59:59', TIME'-00:00:00.5', TIMESTAMP'2024-02-29 12:34:56.789')",
         "JSON_ARRAY(x'00ff10', x'', CAST(REPEAT('a', 57) AS BINARY), CAST(REPEAT('a', 58) AS BINARY), CAST(REPEAT('b', 200) AS BINARY))",
         "(SELECT JSON_ARRAY(b, y, e, s, v, ts) FROM source)", "CAST(1.10 AS JSON)", "CAST(DATE'2024-01-02' AS JSON)",
         "CAST(x'0102' AS JSON)", "JSON_OBJECT('k\\\"\\n', 1)", "JSON_OBJECT('é', '€😀')",
         "JSON_OBJECT('a', JSON_ARRAY(70000, REPEAT('z', 65536), JSON_OBJECT('k', 1)), 'b', 70000, 'c', -70000, 'd', 1)",
         "CONCAT(REPEAT('[', 100), REPEAT(']', 100))"]
TEXTS = {
    "utf8mb4": "aé€😀", "latin1": "aé€ÿ", "gbk": "a中文镕", "gb18030": "a中㐀😀é", "big5": "a中文", "sjis": "aｱ日本~", "cp932": "aｱ日本①",
    "ujis": "aｱ日本丂", "eucjpms": "aｱ日本①", "euckr": "a한국똠", "gb2312": "a中文", "utf16": "a€😀", "utf16le": "a€😀", "utf32": "a€😀",
    "ucs2": "a€é", "koi8r": "aПривет", "koi8u": "aЇї", "cp1251": "aПривет№", "cp866": "aПривет", "greek": "aαΩ", "hebrew": "aאת",
    "tis620": "aกฮ", "latin2": "ačŽ", "latin5": "aşĞ", "latin7": "aāž", "cp1250": "ačŽ€", "cp1256": "aعپ", "cp1257": "aāž€",
    "cp850": "aéß", "cp852": "ačŁ", "macroman": "aé√", "macce": "ačŁ", "swe7": "aåÄÖ", "armscii8": "aԱֆ", "geostd8": "aაჰ",
    "keybcs2": "ačŘ", "dec8": "aéŒ", "hp8": "aéß", "ascii": "a~", "utf8mb3": "aé€",
}


def cases(mysql, old):
    quote = "'{}'".format
    prefix = "old:" if old else ""
    digits = [0] if old else range(7)
    yield prefix + "date", [quote(d) for d in DATES]
    for n in digits:
        suffix = f"({n})" if n else ""
        yield f"{prefix}time{suffix}", [quote(t) for t in TIMES]
        yield f"{prefix}datetime{suffix}", [quote(f"{d} {c}") for d in DATES for c in CLOCK if d != "9999-12-31" or c[0] == "0"]
        yield f"{prefix}timestamp{suffix}", [quote(t) for t in TIMESTAMPS]
    if old:
        return
    for (p, s), values in DECIMALS.items():
        yield f"decimal({p},{s})", values
    yield "double", DOUBLES
    yield "float", FLOATS
    for charset, text in TEXTS.items():
        yield f"varchar(20) character set {charset}", [f"CONVERT(x'{text.encode().hex()}' USING utf8mb4)"]
    if mysql:
        yield "json", JSONS


def run(client, sql):
    done = subprocess.run([*client, "-N", "--batch", "--raw", "--default-character-set=utf8mb4", "--force"],
                          input=sql.encode(), capture_output=True)
    if done.returncode:
        sys.stderr.write(done.stderr.decode())
    return done.stdout.decode().splitlines()


def logs(datadir):
    return {p for p in datadir.iterdir() if p.name[:7] in ("binlog.", "mysql-b") and p.suffix[1:].isdigit()}


def rows(content):
    """(table, row image) of every insert of one row in a binary log file."""
    at, tables = 4, {}
    while at + 19 <= len(content):
        kind, length = content[at + 4], struct.unpack_from("<I", content, at + 9)[0]
        body = content[at + 19 : at + length - 4]  # the CRC32 is the trailer
        number = int.from_bytes(body[:6], "little") if kind in (19, 23, 30) else None
        if kind == 19:
            database = body[9 : 9 + body[8]]
            table = body[11 + body[8] :]
            tables[number] = (database.decode(), table[: body[10 + body[8]]].decode())
        elif kind in (23, 30) and tables.get(number, ("",))[0] == "recorded":
            start = 8 if kind == 23 else 8 + int.from_bytes(body[8:10], "little")
            yield tables[number][1], body[start + 2 :]  # behind the column count and the bitmap of columns
        at += length


def main():
    label, datadir, client = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    mysql, old = label.startswith("mysql"), label.endswith("-old")
    sql = ["DROP DATABASE IF EXISTS recorded; CREATE DATABASE recorded; USE recorded; FLUSH BINARY LOGS;",
           "SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', character_set_results = utf8mb4;"]
    if mysql:
        sql.append("CREATE TABLE source (b BIT(10), y YEAR, e ENUM('x','y'), s SET('p','q'), v VARBINARY(9), ts TIMESTAMP(3));"
                   "INSERT INTO source VALUES (b'1000000001', 2024, 'y', 'p,q', x'00ff', '2024-02-29 01:02:03.456');")
    types = []
    for index, (kind, values) in enumerate(cases(mysql, old)):
        types.append(kind)
        sql.append(f"CREATE TABLE c{index} (id INT PRIMARY KEY AUTO_INCREMENT, v {kind.removeprefix('old:')});")
        sql += [f"INSERT INTO c{index} (v) VALUES ({value});" for value in values]
    before = logs(datadir)
    run(client, "\n".join(sql))
    texts = {}
    for index in range(len(types)):
        for line in run(client, f"SET time_zone = '+00:00'; SELECT id, v FROM recorded.c{index};"):
            number, text = line.split("\t", 1)
            texts[f"c{index}", int(number)] = text
    for log in sorted(logs(datadir) - before):
        for table, image in rows(log.read_bytes()):
            if table == "source":
                continue
            number = struct.unpack_from("<I", image, 1)[0]
            if image[0] & 2 or (table, number) not in texts:  # NULL
                continue
            print(types[int(table[1:])], image[5:].hex(), texts.pop((table, number)).encode().hex(), sep="\t")
    run(client, "DROP DATABASE recorded;")
    sys.exit(f"not in the log: {texts}" if texts else 0)


if __name__ == "__main__":
    main()
