"""Expressions, integrals, Heston, portfolios and resampled columns, sample by sample in plain Python on NumPy's streams.

Each expression stands twice: as the text that a client sends, and as Python that was written by hand.
"""

import json
import math

import numpy

from oracle import bits, cos, exp, ln, normal, power, publish, sin, tanh, uniform, words
from sums import statistics

SAMPLES = 97


def draws(spec, index, count):
    return [uniform(w) for w in words(int(spec["seed"]), int(spec.get("stream", 0)), index, count)]


def mirrored(spec, value, *parts):
    """The value of the draws, or its mean with that of their mirror images."""
    there = value(*(draw for _, draw in parts))
    if not spec.get("antithetic", False):
        return there
    back = value(*([1.0 - x if kind == "u" else -x for x in draw] for kind, draw in parts))
    return (there + back) / 2


def formula(spec, index, value, uniforms, normals):
    """`u` takes the first words, `z` those that follow."""
    drawn = draws(spec, index, uniforms + normals)
    return mirrored(spec, value, ("u", drawn[:uniforms]), ("z", [normal(x) for x in drawn[uniforms:]]))


def integral(spec, index, value):
    lower, upper = spec["params"]["lower"], spec["params"]["upper"]
    volume = 1.0
    for low, high in zip(lower, upper):
        volume = volume * (high - low)

    def at(u):
        return volume * value([low + (high - low) * x for low, high, x in zip(lower, upper, u)])

    return mirrored(spec, at, ("u", draws(spec, index, len(lower))))


def heston(spec, index):
    p = spec["params"]

    def value(z):
        dt = p["maturity"] / p["steps"]
        root, free = math.sqrt(dt), math.sqrt(1 - p["rho"] * p["rho"])
        x, v = 0.0, float(p["v0"])
        for i in range(p["steps"]):
            a, b = z[2 * i], z[2 * i + 1]
            plus = max(v, 0.0)
            s = math.sqrt(plus) * root
            x = x + ((p["rate"] - p["dividend_yield"] - 0.5 * plus) * dt + s * (p["rho"] * a + free * b))
            v = v + (p["kappa"] * (p["theta"] - plus) * dt + p["xi"] * s * a)
        price = p["spot"] * exp(x)
        gain = max(price - p["strike"], 0.0) if p["option"] == "call" else max(p["strike"] - price, 0.0)
        return exp(-p["rate"] * p["maturity"]) * gain

    return mirrored(spec, value, ("z", [normal(u) for u in draws(spec, index, 2 * p["steps"])]))


def cholesky(matrix):
    """The textbook's, row by row; a pivot of nothing has a column of nothing."""
    n = len(matrix)
    low = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = float(matrix[i][j])
            for k in range(j):
                rest = rest - low[i][k] * low[j][k]
            if i == j:
                low[i][i] = math.sqrt(rest) if rest > n * 2.0**-50 * matrix[i][i] else 0.0
            else:
                low[i][j] = rest / low[j][j] if low[j][j] else 0.0
    return low


def portfolio(spec, index):
    p = spec["params"]
    low = cholesky(p["covariance"])

    def value(z):
        total = 0.0
        for i, (weight, mean) in enumerate(zip(p["weights"], p["mean"])):
            move = 0.0
            for k in range(i + 1):
                move = move + low[i][k] * z[k]
            total = total + weight * (mean + move)
        return total

    return mirrored(spec, value, ("z", [normal(u) for u in draws(spec, index, len(p["weights"]))]))


def bootstrap(spec, index, column):
    """Lemire's method: the high half of word times n, unless the low half is below 2^64 mod n."""
    n = len(column)
    stream = iter(words(spec["seed"], spec.get("stream", 0), index, n + 8, purpose=1))
    drawn = []
    while len(drawn) < n:
        product = next(stream) * n
        if product % 2**64 >= 2**64 % n:
            drawn.append(column[product >> 64])
    if spec["params"]["statistic"] == "median":
        return float(numpy.median(drawn))
    total = 0.0
    for value in drawn:
        total = total + value
    return total / n


def market(**more):
    base = {"spot": 100, "strike": 95, "rate": 0.03, "dividend_yield": 0.01, "maturity": 0.5, "option": "call"}
    return base | {"steps": 3, "v0": 0.04, "kappa": 1.5, "theta": 0.06, "xi": 0.9, "rho": -0.6} | more


def five(x):
    """x^5 as documented: squares of the base, lowest bit first."""
    square = x * x
    return 1.0 * x * (square * square)


EXPRESSIONS = [
    ("u0", {}, 1, 0, lambda u, z: u[0]),
    ("z1 + u2", {}, 3, 2, lambda u, z: z[1] + u[2]),
    (
        "max(s*exp((r - 0.5*v^2)*t + v*sqrt(t)*z0) - k, 0)",
        {"s": 100, "r": 0.05, "v": 0.2, "t": 2, "k": 104.5},
        0,
        1,
        lambda u, z: max(100 * exp((0.05 - 0.5 * (0.2 * 0.2)) * 2 + 0.2 * math.sqrt(2) * z[0]) - 104.5, 0.0),
    ),
    (
        "if(u0 < 0.3 || u1 >= 0.5 && u0 != u1, sin(7*u0) - cos(u1/3), tanh(-u0^2))",
        {},
        2,
        0,
        lambda u, z: sin(7 * u[0]) - cos(u[1] / 3) if u[0] < 0.3 or u[1] >= 0.5 else tanh(-(u[0] * u[0])),
    ),
    ("-u5^5 / (1 + u5)^-2", {}, 6, 0, lambda u, z: -five(u[5]) / (1 / ((1 + u[5]) * (1 + u[5])))),
    ("abs(z0)^1.5 + pow(u0, z2)", {}, 1, 3, lambda u, z: power(abs(z[0]), 1.5) + power(u[0], z[2])),
    ("-alpha*ln(u0) + min(u0, 0.25)", {"alpha": 1.75}, 1, 0, lambda u, z: -1.75 * ln(u[0]) + min(u[0], 0.25)),
]

INTEGRALS = [
    ("x0^2 * x1", [0, -1], [2, 3], lambda x: (x[0] * x[0]) * x[1]),
    ("exp(-(x0*x0 + x1*x1 + x2*x2))", [-1, -0.5, 0], [1, 2, 0.7], lambda x: exp(-(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]))),
    ("if(x0 + x4 > 1, x2, 0)", [0.1] * 5, [0.9] * 5, lambda x: x[2] if x[0] + x[4] > 1 else 0.0),
]

HESTONS = [market(), market(steps=6, xi=0.2, rho=0.3, option="put"), market(steps=1, rho=-1, v0=0, strike=100)]

COVARIANCE = [[0.04, 0.012, -0.02], [0.012, 0.09, 0.003], [-0.02, 0.003, 0.0625]]
PORTFOLIOS = [
    {"weights": [1000], "mean": [0.001], "covariance": [[0.0004]]},
    {"weights": [100, -250.5, 75], "mean": [0.01, -0.003, 0], "covariance": COVARIANCE},
    {"weights": [2, 3, 4], "mean": [0, 1, 0], "covariance": [[0.09, 0, 0.09], [0, 0, 0], [0.09, 0, 0.09]]},
]

generator = numpy.random.Generator(numpy.random.Philox(20261123))
COLUMNS = [
    ("mean", [1.5]),
    ("mean", [float(x) for x in generator.normal(size=23)]),
    ("median", [float(x) for x in generator.lognormal(size=9)]),
    ("median", [float(x) for x in generator.standard_cauchy(size=12)]),
]

rows = []


def row(spec, value, **more):
    spec = spec | {"samples": SAMPLES, "outputs": ["mean", "variance", "stderr", "quantiles"], "quantiles": [0.6, 0.95], "exact_tail": True}
    values = [value(spec, i) for i in range(SAMPLES)]
    mean, variance, stderr = statistics(values)
    expected = {
        "values": " ".join(bits(v) for v in values),
        "mean": bits(mean),
        "variance": bits(variance),
        "stderr": bits(stderr),
        "min": bits(min(values)),
        "max": bits(max(values)),
        "quantiles": [bits(float(numpy.quantile(values, q, method="lower"))) for q in spec["quantiles"]],
    }
    rows.append(json.dumps({"spec": spec, "expected": expected} | more))


def seeded(model, params, seed, antithetic):
    return {"model": model, "params": params, "seed": seed, "stream": 7 * seed, "antithetic": antithetic}



def main():
    for antithetic in (False, True):
        for seed, (text, constants, uniforms, normals, value) in enumerate(EXPRESSIONS):
            spec = seeded("expr", {"expression": text, "constants": constants}, seed, antithetic)
            row(spec, lambda spec, i: formula(spec, i, value, uniforms, normals))
        for seed, (text, lower, upper, value) in enumerate(INTEGRALS):
            spec = seeded("integral", {"expression": text, "lower": lower, "upper": upper}, seed, antithetic)
            row(spec, lambda spec, i: integral(spec, i, value))
        for seed, params in enumerate(HESTONS):
            row(seeded("heston", params, seed, antithetic), heston)
        for seed, params in enumerate(PORTFOLIOS):
            row(seeded("portfolio_var", params, seed, antithetic), portfolio)
    for seed, (statistic, column) in enumerate(COLUMNS):
        spec = seeded("bootstrap", {"statistic": statistic}, seed, False)
        row(spec, lambda spec, i: bootstrap(spec, i, column), column=" ".join(bits(x) for x in column))
    publish("models.json", "[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
