"""Mean, variance and standard error of lists that hurt, by exact fractions, each rounded once."""

import json
import math
from fractions import Fraction

from oracle import bits, uniform, words


def rounded(fraction):
    """The nearest double; Fraction's own conversion is correctly rounded and refuses what overflows."""
    try:
        return fraction.numerator / fraction.denominator
    except OverflowError:
        return math.inf if fraction > 0 else -math.inf


def statistics(values):
    exact = [Fraction(v) for v in values]
    n = len(exact)
    mean = rounded(sum(exact) / n)
    if n == 1:
        return mean, None, None
    spread = n * sum(x * x for x in exact) - sum(exact) ** 2
    variance = rounded(spread / (n * (n - 1)))
    return mean, variance, math.sqrt(variance / n)


if __name__ == "__main__":
    from oracle import publish

    u = [uniform(w) for w in words(7, 7, 7, 4000)]
    tiny, huge = 2.0**-1074, 1.7976931348623157e308
    cases = {
        "one": [0.1],
        "two": [0.1, 0.2],
        "zeros": [0.0, -0.0, 0.0],
        "cancelling": [1e300, 1.0, -1e300, 1e-300, 3.0],
        "a large mean hides the spread": [1e15 + x for x in u[:100]],
        "all equal": [1.5] * 120,
        "tiny": [tiny, 3 * tiny, -tiny, 7 * tiny, 2.0**-1022],
        "tiny halves": [tiny, 2 * tiny],
        "huge": [huge, huge, -huge, huge],
        "huge overflowing variance": [huge, -huge],
        "every octave": [s * math.ldexp(1 + x, e) for e, x, s in zip(range(-1070, 1020, 7), u, [1, -1, 1] * 400)],
        "payoffs": [max(0.0, 100 * math.exp(0.2 * (12 * x - 6)) - 100) for x in u[:300]],
        "ties": [1.0, 2.0**-53, 2.0**-53, 1.0 + 2.0**-52],
        "alternating": [((-1) ** i) * (1 + x * 2.0**-30) for i, x in enumerate(u[300:500])],
        "powers": [2.0**e for e in range(-500, 500, 9)],
    }
    rows = []
    for name, values in cases.items():
        mean, variance, stderr = statistics(values)
        out = {"name": name, "values": " ".join(bits(v) for v in values), "mean": bits(mean)}
        out["variance"] = None if variance is None else bits(variance)
        out["stderr"] = None if stderr is None else bits(stderr)
        rows.append(json.dumps(out))
    publish("sums.json", "[\n" + ",\n".join(rows) + "\n]\n")
