"""Make the golden vectors of the sticky buckets, tests/core/bucket_vectors.json.

    python3 tools/make_bucket_vectors.py > tests/core/bucket_vectors.json

A second implementation of the formula: whole-number arithmetic written from the specification, with nothing of
`proxy` and no hash library in it, so that a vector proves the formula and not the code it tests. The vectors are
golden: a change of this output would move agents between cohorts and is a mistake.

Source: ARCHITECTURE.md 2.1 (the formula); xxHash fast digest algorithm, XXH3 algorithm description (the hash).
"""

import json
import sys

_U64 = 2**64 - 1
_PRIME32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_PRIME64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_PRIME_MX = (0x165667919E3779F9, 0x9FB21C651E98DF25)
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def _read(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _secret(at: int) -> int:
    return _read(_SECRET, at)


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _U64


def _fold(left: int, right: int) -> int:
    """The halves of the 128-bit product, one upon the other."""
    product = left * right
    return (product ^ product >> 64) & _U64


def _settle(word: int) -> int:
    """XXH3's avalanche."""
    word = (word ^ word >> 37) * _PRIME_MX[0] & _U64
    return word ^ word >> 32


def _settle_short(word: int) -> int:
    """XXH64's avalanche, which XXH3 uses for the shortest inputs."""
    word = (word ^ word >> 33) * _PRIME64[1] & _U64
    word = (word ^ word >> 29) * _PRIME64[2] & _U64
    return word ^ word >> 32


def _upto_16(data: bytes) -> int:
    size = len(data)
    if size == 0:
        return _settle_short(_secret(56) ^ _secret(64))
    if size <= 3:
        combined = data[0] << 16 | data[size >> 1] << 24 | data[-1] | size << 8
        return _settle_short(combined ^ _read(_SECRET, 0, 4) ^ _read(_SECRET, 4, 4))
    if size <= 8:
        word = _read(data, size - 4, 4) + (_read(data, 0, 4) << 32) ^ _secret(8) ^ _secret(16)
        word ^= _rotate(word, 49) ^ _rotate(word, 24)
        word = word * _PRIME_MX[1] & _U64
        word = (word ^ (word >> 35) + size) * _PRIME_MX[1] & _U64
        return word ^ word >> 28
    low = _read(data, 0) ^ _secret(24) ^ _secret(32)
    high = _read(data, size - 8) ^ _secret(40) ^ _secret(48)
    swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
    return _settle((size + swapped + high + _fold(low, high)) & _U64)


def _mix(data: bytes, at: int, secret_at: int) -> int:
    return _fold(_read(data, at) ^ _secret(secret_at), _read(data, at + 8) ^ _secret(secret_at + 8))


def _upto_128(data: bytes) -> int:
    size = len(data)
    total = size * _PRIME64[0]
    for step in range((size - 1) // 32 + 1):
        total += _mix(data, 16 * step, 32 * step) + _mix(data, size - 16 * (step + 1), 32 * step + 16)
    return _settle(total & _U64)


def _upto_240(data: bytes) -> int:
    size = len(data)
    total = size * _PRIME64[0] + sum(_mix(data, 16 * step, 16 * step) for step in range(8))
    total = _settle(total & _U64)
    total += sum(_mix(data, 16 * step, 16 * (step - 8) + 3) for step in range(8, size // 16))
    return _settle(total + _mix(data, size - 16, 136 - 17) & _U64)


def _accumulate(lanes: list[int], data: bytes, at: int, secret_at: int) -> None:
    for lane in range(8):
        word = _read(data, at + 8 * lane)
        keyed = word ^ _secret(secret_at + 8 * lane)
        lanes[lane ^ 1] = lanes[lane ^ 1] + word & _U64
        lanes[lane] = lanes[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & _U64


def _scramble(lanes: list[int]) -> None:
    for lane in range(8):
        word = lanes[lane]
        lanes[lane] = (word ^ word >> 47 ^ _secret(128 + 8 * lane)) * _PRIME32[0] & _U64


def _long(data: bytes) -> int:
    size = len(data)
    lanes = [_PRIME32[2], *_PRIME64[:4], _PRIME32[1], _PRIME64[4], _PRIME32[0]]
    for stripe in range((size - 1) // 64):
        _accumulate(lanes, data, 64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            _scramble(lanes)
    _accumulate(lanes, data, size - 64, 192 - 64 - 7)
    pairs = (_fold(lanes[at] ^ _secret(11 + 8 * at), lanes[at + 1] ^ _secret(19 + 8 * at)) for at in range(0, 8, 2))
    return _settle(size * _PRIME64[0] + sum(pairs) & _U64)


def xxh3_64(data: bytes) -> int:
    """XXH3 with 64 bits and seed 0."""
    for most, digest in ((16, _upto_16), (128, _upto_128), (240, _upto_240)):
        if len(data) <= most:
            return digest(data)
    return _long(data)


def bucket(salt: str, agent_id: str) -> int:
    """The formula, as it stands in the specification."""
    return (xxh3_64(salt.encode() + b"\x00" + agent_id.encode()) >> 32) * 100_000 >> 32


SALTS = ("", "s", "2026-q1", "rollout of week 5", "\u00e9t\u00e9-2026", "\U0001f9c2")
AGENTS = (
    *("", "a", "ab", "abc", "alice", "bob", "Alice", "ALICE", "alice ", " alice", "mcp_server", "agent_alpha"),
    *("agent-0", "agent-00", "builder:linux:3", "team a / reviewer #4", "a:b", "a%3Ab", "0", "00000", "-1", "null"),
    *("2f1c9d8e-5a4b-4c3d-9e8f-7a6b5c4d3e2f", "planner@build-07.example", "expert_bob", "user+tag=x&y", '"quoted"'),
    *("caf\u00e9", "cafe\u0301", "\u00c5ngstr\u00f6m", "A\u030angstro\u0308m", "na\u00efve-\u00df", "\u017fharp"),
    *("\u0430\u0433\u0435\u043d\u0442-7", "\u03c0\u03c1\u03ac\u03ba\u03c4\u03bf\u03c1\u03b1\u03c2", "\u4ee3\u7406-1"),
    *(
        "\u30a8\u30fc\u30b8\u30a7\u30f3\u30c8",
        "\uc5d0\uc774\uc804\ud2b8",
        "\u0648\u0643\u064a\u0644",
        "\u05e1\u05d5\u05db\u05df",
    ),
    *(
        "\u090f\u091c\u0947\u0902\u091f",
        "\u0e15\u0e31\u0e27\u0e41\u0e17\u0e19",
        "\u1795\u17d2\u1791\u17c7",
        "o\u0302\u0323",
    ),
    *("\U0001f916", "\U0001f916\U0001f916", "\U0001f469\u200d\U0001f4bb", "\U0001f1eb\U0001f1ee", "\u2764\ufe0f"),
    *("\U00010348\U0001d11e", "x" * 15, "x" * 16, "x" * 63, "x" * 127, "x" * 128, "x" * 129, "y" * 239, "y" * 240),
    *("y" * 241, "z" * 300, "\u00fc" * 300, "\u4e2d" * 300, "\U0001f600" * 300, "long name " * 30),
)


def main() -> None:
    """Print the vectors as a JSON array, one vector in a line, in ASCII so that no editor can recompose a name."""
    rows = [{"salt": salt, "agent_id": agent, "bucket": bucket(salt, agent)} for salt in SALTS for agent in AGENTS]
    sys.stdout.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
