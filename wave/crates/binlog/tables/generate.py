#!/usr/bin/env python3
"""Makes the character set tables beside this file by asking a MySQL or MariaDB server for every code.

    generate.py CLIENT...           writes the tables (MySQL 8.0 or newer, which has all character sets)
    generate.py --check CLIENT...   compares them with the server, exit code 1 when they differ

CLIENT is a client command line that reads SQL from its standard input, e.g. `mysql -h127.0.0.1 -P3306 -uroot`.

single.bin   256 code points per set, in the order of SINGLE
NAME.bin     code points of the two-byte codes: rows are lead bytes, columns trail bytes, ranges as in DOUBLE
NAME3.bin    the same for what follows 8F in ujis and eucjpms
gb18030r.bin runs of the four-byte codes below U+10000: pairs of first linear code and its code point
general*.bin pairs of a character below U+10000 and its weight, where that is another number; of collations of utf8mb3,
             by which servers compare names (general1400_as_ci: MariaDB 11.5 or newer)
All numbers are u16 little-endian; 0 means that the server has no character there.
"""
import pathlib
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
SINGLE = """ascii latin1 latin2 latin5 latin7 greek hebrew tis620 cp850 cp852 cp866 cp1250 cp1251 cp1256 cp1257 koi8r
koi8u dec8 hp8 swe7 armscii8 geostd8 keybcs2 macce macroman""".split()
# name: first and last lead byte, first and last trail byte
DOUBLE = {
    "big5": (0xA1, 0xF9, 0x40, 0xFE),
    "gb2312": (0xA1, 0xF7, 0xA1, 0xFE),
    "gbk": (0x81, 0xFE, 0x40, 0xFE),
    "gb18030": (0x81, 0xFE, 0x40, 0xFE),
    "euckr": (0x81, 0xFE, 0x41, 0xFE),
    "sjis": (0x81, 0xFC, 0x40, 0xFC),
    "cp932": (0x81, 0xFC, 0x40, 0xFC),
    "ujis": (0xA1, 0xFE, 0xA1, 0xFE),
    "eucjpms": (0xA1, 0xFE, 0xA1, 0xFE),
}
COLLATIONS = ("general_ci", "general1400_as_ci")


def evaluate(client, expressions):
    """The server's answer to each expression."""
    per_statement = 200
    parts = (expressions[at : at + per_statement] for at in range(0, len(expressions), per_statement))
    sql = "".join(f"SELECT {', '.join(part)};\n" for part in parts)
    run = subprocess.run([*client, "-N", "--batch"], input=sql, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    answers = [field for line in run.stdout.splitlines() for field in line.split("\t")]
    assert len(answers) == len(expressions), f"{len(answers)} answers to {len(expressions)} questions"
    return answers


def ask(client, charset, codes):
    """The character of each code, None where the server has none."""
    answers = evaluate(client, [f"HEX(CONVERT(CONVERT(x'{c.hex()}' USING {charset}) USING utf8mb4))" for c in codes])
    characters = []
    for code, answer in zip(codes, answers):
        text = None if answer in ("NULL", "") else bytes.fromhex(answer).decode()
        # MySQL gives NULL for what is no code of the set, both give ? for a code without a Unicode character.
        characters.append(None if text is None or len(text) != 1 or (text == "?" and code != b"?") else text)
    return characters


def numbers(characters):
    return b"".join(struct.pack("<H", ord(c) if c else 0) for c in characters)


def linear(code):
    a, b, c, d = code
    return (((a - 0x81) * 10 + b - 0x30) * 126 + c - 0x81) * 10 + d - 0x30


def four(n):
    n, d = divmod(n, 10)
    n, c = divmod(n, 126)
    a, b = divmod(n, 10)
    return bytes((a + 0x81, b + 0x30, c + 0x81, d + 0x30))


def gb18030_runs(client):
    # The rest is a formula in the decoder: from linear code 189000 on, U+10000 and up.
    codes = [four(n) for n in range(189000, 189000 + 0x100000)]
    for code, character in zip(codes, ask(client, "gb18030", codes)):
        assert character and ord(character) == 0x10000 + linear(code) - 189000, code.hex()
    runs = b""
    previous = None
    for n, character in enumerate(ask(client, "gb18030", [four(n) for n in range(39420)])):
        assert character, four(n).hex()
        if previous is None or ord(character) != previous + 1:
            runs += struct.pack("<HH", n, ord(character))
        previous = ord(character)
    return runs


def weights(client, collation):
    characters = [c for c in range(1, 0x10000) if not 0xD800 <= c < 0xE000]
    text = [f"CONVERT(CONVERT(x'{c:04x}' USING ucs2) USING utf8mb3)" for c in characters]
    answers = evaluate(client, [f"HEX(WEIGHT_STRING({t} COLLATE utf8mb3_{collation}))" for t in text])
    pairs = [(c, int.from_bytes(bytes.fromhex(a), "big")) for c, a in zip(characters, answers)]
    return b"".join(struct.pack("<HH", c, weight) for c, weight in pairs if c != weight)


def main():
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    client = arguments[1:] if check else arguments
    if not client:
        sys.exit(__doc__)
    known = subprocess.run(
        [*client, "-N", "--batch"],
        input="SELECT character_set_name FROM information_schema.character_sets;"
        "SELECT collation_name FROM information_schema.collations;",
        capture_output=True, text=True, check=True,
    ).stdout.split()

    tables = {"single": b"".join(numbers(ask(client, s, [bytes((b,)) for b in range(256)])) for s in SINGLE)}
    for name, (lead, last_lead, trail, last_trail) in DOUBLE.items():
        if name not in known:
            print(f"{name}: this server does not have it")
            continue
        pairs = [bytes((a, b)) for a in range(lead, last_lead + 1) for b in range(trail, last_trail + 1)]
        # MariaDB reads a broken code as ? and a character: ask() drops answers of two characters.
        tables[name] = numbers(ask(client, name, pairs))
        inside = set(pairs)
        outside = [c for a in range(0x80, 0x100) for b in range(0x100) if (c := bytes((a, b))) not in inside]
        kana = {bytes((0x8E, b)): chr(0xFF61 + b - 0xA1) for b in range(0xA1, 0xE0)} if "uj" in name or "eucj" in name else {}
        for code, character in zip(outside, ask(client, name, outside)):
            assert character == kana.get(code), f"{name} {code.hex()} {character}"
        if kana:
            triples = [bytes((0x8F, a, b)) for a in range(0xA1, 0xFF) for b in range(0xA1, 0xFF)]
            tables[name + "3"] = numbers(ask(client, name, triples))
        high = [bytes((b,)) for b in range(0x80, 0x100)]
        for code, character in zip(high, ask(client, name, high)):
            half_width = name in ("sjis", "cp932") and 0xA1 <= code[0] <= 0xDF
            assert character == (chr(0xFF61 + code[0] - 0xA1) if half_width else None), f"{name} {code.hex()}"
    if "gb18030" in known:
        tables["gb18030r"] = gb18030_runs(client)
    for name in COLLATIONS:
        if f"utf8mb3_{name}" in known:
            tables[name] = weights(client, name)

    differ = False
    for name, content in tables.items():
        file = HERE / f"{name}.bin"
        if not check:
            file.write_bytes(content)
        elif file.read_bytes() != content:
            print(f"{name} differs")
            differ = True
    print(f"{len(tables)} tables, {sum(map(len, tables.values()))} bytes")
    sys.exit(differ)


main()
