"""Word, uniform, normal: AS241 as CPython writes it, over the whole range and at its seams."""

from oracle import bits, normal, publish, uniform, words

chosen = [0, 1, 2047, 2048, 2**64 - 1, 2**64 - 2048, 2**63, 2**63 - 1, 2**63 + 2048]
# Seams: |u - 1/2| = 0.425, and r = 5 at u = exp(-25).
for u in (0.075, 0.925, 1.3887943864964021e-11, 1 - 1.3887943864964021e-11):
    at = int(u * 2**53)
    chosen += [max(0, min(2**53 - 1, at + d)) << 11 for d in range(-4, 5)]
for power in range(54):
    chosen += [(1 << power) << 11 if power < 53 else 0, ((2**53 - 1) - (1 << power if power < 53 else 0)) << 11]
chosen += words(2026, 1, 0, 1500)
rows = []
for word in chosen:
    u = uniform(word)
    rows.append(f"{word:016x},{bits(u)},{bits(normal(u))}")
publish("normals.csv", "word,uniform,normal\n" + "\n".join(rows) + "\n")
