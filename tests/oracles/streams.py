"""Words of NumPy's Philox by (seed, stream, sample)."""

import json

from oracle import publish, words

TOP = 2**64 - 1
cases = [(0, 0, 0), (42, 0, 0), (42, 0, 1), (42, 7, 123456789), (TOP, TOP, 2**40 - 1), (1, 2**63, 2**32), (2**53 + 1, 3, 5)]
rows = [
    {"seed": str(seed), "stream": str(stream), "sample": sample, "words": [f"{w:016x}" for w in words(seed, stream, sample, 13)]}
    for seed, stream, sample in cases
]
publish("streams.json", "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
