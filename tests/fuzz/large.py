"""Files that are large in one way: a reader whose time grows with the square of it takes minutes for each."""

N = 50_000


def _names(form):
    return [form % number for number in range(N)]


def _object(pairs):
    return b'{"x": {' + b",".join(pairs) + b"}}"


_KEYS = _names(b'"k%d":0')
_WORDS = _names(b"k%d")

LARGE = {  # suffix -> what is large -> content
    ".json": {
        "depth of lists": b"[" * N,
        "depth of objects": b'{"a":' * N,
        "keys": _object(_KEYS),
        "keys, the last one twice": _object([*_KEYS, _KEYS[-1]]),
        "keys at the top": b"{" + b",".join(_KEYS) + b"}",
        "digits": b"[" + b"9" * 10 * N + b"]",
        "text": b'["' + b"\\u0041" * N + b'"]',
        "spaces": b" " * 10 * N,
        "numbers": b"[" + b"1e308," * N + b"1]",
        "texts before a NaN": b"[" + b'"NaN",' * N + b"NaN]",
        "objects without an end": b"[" + b"{}," * N,
    },
    ".xml": {
        "depth": b"<a>" * N,
        "children": b"<annotation>" + b"<object/>" * N + b"</annotation>",
        "attributes": b"<a " + b" ".join(_names(b'k%d=""')) + b"/>",
        "one attribute": b"<a " + b'b="" ' * N + b"/>",
        "references": b"<a>" + b"&lt;" * N + b"</a>",
        "instructions": b"<?" * N,
        "comments": b"<!--" * N,
    },
    ".yaml": {
        "depth of lists": b"[" * N,
        "depth of mappings": b"{" * N,
        "complex keys": b"? " * N,
        "entries": b"- " * N,
        "colons": b"a:" * N,
        "anchors": b"&a " * N,
        "keys": b": 0\n".join(_WORDS) + b": 0\n",
        "keys of a section": b"train:\n" + b"".join(_names(b"  k%d: 0\n")),
        "names": b"names: [" + b",".join(_WORDS) + b"]",
        "classes": b"data:\n  classes: [" + b",".join(_WORDS) + b"]\n",
        "lines of a text": b'"' + b"\n" * 5 * N,
        "lines of a block": b"|" + b"\n " * N,
    },
    ".csv": {
        "columns": b",".join(_WORDS),
        "columns, the last one twice": b",".join([*_WORDS, _WORDS[-1]]),
        "quotes": b'"' * N,
        "empty lines": b"\n" * 10 * N,
        "field": b"a" * 10 * N,
        "labels": b"path,label\n" + b"".join([b"%b.png,%b\n" % (word, word) for word in _WORDS]),
        "boxes": b"path,x1,y1,x2,y2,label\n" + b"pictures/hen.png,1,1,2,2,dog\n" * N,
        "colours": b"name,r,g,b\n" + b"".join([b"k%d,%d,%d,0\n" % (i, i % 256, i >> 8) for i in range(N)]),
    },
    ".txt": {
        "names": b"\n".join(_WORDS),
        "one name": b"hen\n" * N,
        "line": b"a" * 10 * N,
        "folders": b"a/" * N,
        "boxes": b"0 .5 .5 .1 .1\n" * N,
        "polygon": b"0 " + b".5 " * N,
        "tabs": b"\t" * N,
        "pairs": b"".join([b"%b\t%b\n" % (word, word) for word in _WORDS]),
        "annotations": b"".join(_names(b"%d.png\tn1\t0\t0\t1\t1\n")),
    },
}
