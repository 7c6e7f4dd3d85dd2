"""Sound files made unsound: `damage` knows how each format is built, and changes one thing in it at a time.

All choices come from one `random.Random`, which hypothesis or a fuzzer drives.
"""

import csv
import io
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

TOKENS = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"<", b">", b"&", b"/", b"\\", b"'", b"#", b"-", b"%", b" "),
    *(
        b"\n",
        b"\r\n",
        b"\r",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        "é".encode(),
        b"\\ud800",
    ),
    *(b"null", b"true", b"NaN", b"-Infinity", b"0", b"-1", b"0.5", b"1e400", b"9" * 20, b"9" * 5000),
    *(
        b'"x"',
        b"[]",
        b"{}",
        b"../",
        b"<!DOCTYPE x>",
        b"&#0;",
        b"&lt;",
        b"<a/>",
        b"- ",
        b"? ",
        b"&x ",
        b"!!x ",
    ),
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"[" * 100, b'{"":' * 3000, b"<a>" * 100),
]
TEXTS = [
    *(
        "",
        " ",
        "\0",
        "\n",
        "x",
        "é",
        "a/b",
        "../x",
        "/",
        ".",
        "C:x",
        "\\\\x\\y",
        "~",
        "'",
        '"',
        ",",
        "=",
        "+",
    ),
    *("0", "-0", "-1", "1", "256", "1.5", "1e999", "-1e-999", "nan", "inf", "-inf", "1_0", "0x1", "٣", "²"),
    *(
        "9" * 19,
        "9" * 40,
        "9" * 5000,
        "null",
        "true",
        "background",
        "255",
        "cat",
        "dog",
        "x" * 300,
        "x" * 5000,
    ),
]
MALFORMED = (  # what a change meets in a file that an earlier one has damaged
    *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
    *(struct.error, zlib.error, ElementTree.ParseError),
)
DEEP = "DEEP"  # stands for a value that json cannot write
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 255, 256, 2**31, 2**32, 2**63, 2**64, 10**40, 10**400, -(2**63) - 1),
    *(0.5, -0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), "\ud800", DEEP),
    *(
        [],
        {},
        [[]],
        [None],
        [1, 2],
        [0, 0, 0, 0],
        [1e308] * 4,
        {"": 0},
        {"size": [2**31, 2**31], "counts": []},
    ),
]


def damage(content: bytes, suffix: str, rng) -> bytes:
    """A file's content with one to four changes; suffix: says how it is built."""
    change = CHANGES.get(suffix, flip)
    for _ in range(rng.choice([1, 1, 2, 4])):
        try:
            content = rng.choice([change, change, flip])(content, rng)
        except MALFORMED:
            content = flip(content, rng)
    return content


def flip(content, rng):
    """Bytes removed, replaced, inserted, repeated, or the rest cut off."""
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice([0, 0, 1, 2, 5, 20]))
    middle = rng.choice([*TOKENS, b"", content[start : start + 40] * 2, bytes([rng.randrange(256)])])
    return content[:start] + middle + (b"" if rng.random() < 0.05 else content[end:])


def _nodes(value, found):
    """(container, key) of every value inside a value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(inner, dict | list):
            _nodes(inner, found)
    return found


def change_value(document, rng):
    """Change one value of a tree of dicts and lists, in place."""
    nodes = _nodes(document, [])
    container, key = rng.choice(nodes)
    donor, place = rng.choice(nodes)
    way = rng.randrange(7)
    if way == 0:
        del container[key]
    elif way == 1:
        container[key] = json.loads(json.dumps(donor[place]))  # a copy: no tree contains itself
    elif way == 2:
        container[key] = [container[key]] * rng.choice([1, 2, 1000])
    elif way == 3 and isinstance(container, list):
        container.append(json.loads(json.dumps(container[key])))
    elif way == 4 and isinstance(container, dict):
        container[rng.choice([*TEXTS, place]) if isinstance(place, str) else ""] = container[key]
    else:
        container[key] = rng.choice([*VALUES, *TEXTS])


def change_json(content, rng):
    document = json.loads(content)
    change_value(document, rng)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    depth = rng.choice([70, 5000])
    return text.replace(json.dumps(DEEP), "[" * depth + "]" * depth).encode("utf-8", "surrogatepass")


def change_xml(content, rng):
    """An element removed, doubled, renamed, moved, or with another text."""
    root = ElementTree.fromstring(content)
    parents = [parent for parent in root.iter() if len(parent)]
    parent = rng.choice(parents)
    child = rng.choice(list(parent))
    way = rng.randrange(5)
    if way == 0:
        parent.remove(child)
    elif way == 1:
        parent.extend([child] * rng.choice([1, 500]))
    elif way == 2:
        child.tag = rng.choice([child.tag.upper(), *(element.tag for element in root.iter())])
    elif way == 3:
        rng.choice(list(root.iter())).append(ElementTree.fromstring(ElementTree.tostring(child)))
    else:
        child.text = rng.choice(TEXTS)
    return ElementTree.tostring(root, encoding="utf-8")


def change_rows(content, rng):
    """A line removed, doubled or moved, or one of its fields changed."""
    lines = content.decode().split("\n")
    place = rng.randrange(len(lines))
    way = rng.randrange(5)
    if way == 0:
        del lines[place]
    elif way == 1:
        lines[place:place] = [lines[place]] * rng.choice([1, 1000])
    elif way == 2:
        lines.insert(rng.randrange(len(lines)), lines.pop(place))
    else:
        parts = re.split(r"([,\t :]+)", lines[place])
        field = rng.randrange(len(parts))
        parts[field] = (
            _quoted(rng.choice(TEXTS)) if rng.random() < 0.8 else "".join(parts[field : field + 2]) * 2
        )
        lines[place] = "".join(parts)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _quoted(text):
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow([text])
    return row.getvalue()


def change_png(content, rng):
    """A chunk removed, doubled, moved or changed: its check sum is right, so that decoders look inside."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    number = rng.randrange(len(chunks))
    kind, data = chunks[number]
    way = rng.randrange(6)
    if way == 0:
        del chunks[number]
    elif way == 1:
        chunks.insert(rng.randrange(len(chunks)), (kind, data))
    elif way == 2:
        chunks.insert(
            number, (rng.choice([b"eXIf", b"tRNS", b"PLTE", b"acTL", b"iCCP", b"zTXt", b"gAMA"]), data)
        )
    elif way == 3 and kind == b"IDAT":
        chunks[number] = kind, zlib.compress(flip(zlib.decompress(data), rng))
    else:
        chunks[number] = kind, flip(data, rng)
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return content[:8] + b"".join(packed)


def change_weights(content, rng):
    """The header of a safetensors file, or the record inside it, with the lengths made right again."""
    length = struct.unpack_from("<Q", content)[0]
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.5:
        metadata = header["__metadata__"]
        metadata["visiontasks"] = change_json(metadata["visiontasks"].encode(), rng).decode()
        text = json.dumps(header).encode()
    else:
        text = change_json(json.dumps(header).encode(), rng)
    return struct.pack("<Q", len(text)) + text + rest


CHANGES = {
    ".json": change_json,
    ".xml": change_xml,
    ".csv": change_rows,
    ".txt": change_rows,
    ".yaml": change_rows,
    ".png": change_png,
    ".safetensors": change_weights,
}
