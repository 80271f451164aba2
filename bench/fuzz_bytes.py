"""Makes hostile inputs out of good ones: bytes changed, cut, repeated, swapped and blown up, from a seed.

What a parser takes is kept for a while and changed further, so that inputs walk away from where they began. A part of
all inputs is made long out of one piece, as that is what makes a parser slow.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

LONGEST: Final = 65_536
"""Longest input, bytes. Source: ours; what grows with the square of its length is slow by then."""

KEPT: Final = 32
"""Inputs of one parser that are kept to be changed further."""

_WALK_BYTES: Final = 4_096
"""Longest input that is kept."""

_BLOW_UP: Final = 400
"""One in so many inputs is made long."""

_FRESH: Final = 3
"""One in so many begins from a seed again."""

_DELIMITERS: Final = b':,;=&"/.\n'

TOKENS: Final = (
    *(b"\x00", b"\n", b"\r\n", b"\r\n\r\n", b"\t", b" ", b"\x1b[2J", b"\x7f", b"\x80", b"\xff", b"\xef\xbb\xbf"),
    *(b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\\ud800", b"\\u0000", b"\\udc00", b"\\", b'"'),
    *(b"{", b"}", b"[", b"]", b"{}", b"[]", b"[[[[[[[[", b'{"a":', b"null", b"true", b"false", b'""', b'"x"'),
    *(b"0", b"-0", b"-1", b"1e999", b"1.0", b"9007199254740993", b"18446744073709551616", b"NaN", b"-Infinity", b"1e"),
    *(b"9" * 400, b"..", b"/../", b"%00", b"%2e%2e", b"%ff", b"%", b"#", b"?", b"\\u002e", b"://", b"@", b"[::1]"),
    *(b":", b",", b";", b"=", b"&", b"*", b"sig1=", b"sha-256=:", b"data: ", b"\xf0\x9f\x98\x80", b"e\xcc\x81"),
    *(b'"$ref":"#"', b'"pattern":"(a+)+$"', b'"type":"object"', b'"agent_id":"mallory"', b'"id":null', b'"_meta":{}'),
)
"""What means something to one reader and nothing, or something else, to another."""


class Mutator:
    """Makes inputs; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a run has to be repeatable
        self._edits: tuple[Callable[[bytes], bytes], ...] = (
            self._flip,
            self._flip,
            self._insert,
            self._insert,
            self._delete,
            self._truncate,
            self._repeat,
            self._swap_value,
            self._swap_value,
            self._copy,
        )

    def next(self, seeds: Sequence[bytes], kept: Sequence[bytes]) -> bytes:
        """An input made from one of these."""
        chance = self._random
        is_fresh = not kept or not chance.randrange(_FRESH)
        made = chance.choice(seeds if is_fresh else kept)
        if not chance.randrange(_BLOW_UP):
            return self._blown_up(made)
        for _ in range(1 + (chance.getrandbits(3) & chance.getrandbits(3))):
            made = chance.choice(self._edits)(made)
        if not chance.getrandbits(4):
            made = self._spliced(made, chance.choice(seeds))
        return made[:LONGEST]

    def keep(self, kept: list[bytes], made: bytes) -> None:
        """Note an input that a parser took; now and then one stays."""
        if len(made) > _WALK_BYTES or self._random.getrandbits(4):
            return
        if len(kept) < KEPT:
            kept.append(made)
        else:
            kept[self._random.randrange(KEPT)] = made

    def _cut(self, value: bytes) -> tuple[int, int]:
        """Where a short piece begins and ends."""
        at = self._random.randrange(len(value) + 1)
        return at, at + self._random.randrange(12)

    def _flip(self, value: bytes) -> bytes:
        if not value:
            return value
        at = self._random.randrange(len(value))
        return b"%b%c%b" % (value[:at], value[at] ^ (1 << self._random.getrandbits(3) % 8), value[at + 1 :])

    def _insert(self, value: bytes) -> bytes:
        at = self._random.randrange(len(value) + 1)
        return value[:at] + self._random.choice(TOKENS) + value[at:]

    def _delete(self, value: bytes) -> bytes:
        at, end = self._cut(value)
        return value[:at] + value[end:]

    def _truncate(self, value: bytes) -> bytes:
        return value[: self._random.randrange(len(value) + 1)]

    def _repeat(self, value: bytes) -> bytes:
        at, end = self._cut(value)
        return value[:at] + value[at:end] * self._random.choice((2, 3, 17)) + value[end:]

    def _copy(self, value: bytes) -> bytes:
        at, end = self._cut(value)
        to = self._random.randrange(len(value) + 1)
        return value[:to] + value[at:end] + value[to:]

    def _swap_value(self, value: bytes) -> bytes:
        """Put a token in place of what stands between two delimiters."""
        delimiter = _DELIMITERS[self._random.randrange(len(_DELIMITERS)) :][:1]
        begin = value.find(delimiter, self._random.randrange(len(value) + 1)) + 1
        if not begin:
            return value
        end = value.find(delimiter if self._random.getrandbits(1) else b",", begin)
        return value[:begin] + self._random.choice(TOKENS) + (value[end:] if end >= 0 else b"")

    def _spliced(self, one: bytes, other: bytes) -> bytes:
        return one[: self._random.randrange(len(one) + 1)] + other[self._random.randrange(len(other) + 1) :]

    def _blown_up(self, value: bytes) -> bytes:
        """A long input: one piece of it, or one token, over and over."""
        at, end = self._cut(value)
        piece = value[at:end] if end > at and self._random.getrandbits(1) else self._random.choice(TOKENS)
        piece = piece or b"a"
        room = self._random.choice((1_000, 8_000, LONGEST)) - len(value)
        return (value[:at] + piece * max(1, room // len(piece)) + value[at:])[:LONGEST]
