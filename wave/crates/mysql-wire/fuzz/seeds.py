#!/usr/bin/env python3
"""Writes first inputs for the fuzz targets, made of recorded conversations: seeds.py FOLDER (a folder per target)."""
import hashlib
import pathlib
import struct
import sys

DATA = pathlib.Path(__file__).parent.parent / "tests/testdata"
OUT = pathlib.Path(sys.argv[1])
LARGEST = 8192  # the -max_len of deploy/fuzz.sh


def seed(target, data):
    if len(data) <= LARGEST:
        folder = OUT / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def packets(recording):
    at = 0
    while at < len(recording):
        size = int.from_bytes(recording[at:at + 3], "little")
        yield recording[at:at + 4 + size]
        at += 4 + size


for number, name in enumerate(["conversation_mysql_9_7.bin", "conversation_mariadb_10_11.bin"]):
    recording = list(packets((DATA / name).read_bytes()))
    for count in range(0, min(len(recording), 256), 3):
        after = recording[count:count + 6]
        for wish in ([2] if count else [0, 1, 2]):
            # raw bytes; the same as payloads, with and without TLS
            seed("session", bytes([number, count, 16, wish]) + b"".join(after))
            framed = b"".join(struct.pack("<H", len(packet) - 4) + packet[4:] for packet in after if len(packet) < 4000)
            seed("session", bytes([number | 4, count, 255, wish]) + framed)
            if count < 3:
                seed("session", bytes([number | 2, count, 16, wish]) + b"".join(after))

for text in [
    "mysql://re%40pl:p%3Aw%2f@db.example:3307/shop?ssl-mode=VERIFY_CA&ssl-ca=%2Fetc%2Fca.pem&ssl_cert=c&ssl-key=k",
    "mariadb://u@[::1]:3306/?server-public-key=k&allow-cleartext-auth=true",
    "mysql://h/?sslmode=required",
    "pass@word/with?every#sign&of=them%20",
]:
    seed("url", text.encode())
