"""Every model, sample by sample, in plain Python on NumPy's streams; then what a result document must say."""

import json
import math

import numpy

from oracle import bits, exp, ln, normal, publish, uniform, words
from sums import statistics


def payoff(p, price):
    return max(price - p["strike"], 0.0) if p["option"] == "call" else max(p["strike"] - price, 0.0)


def path(p, steps, normals):
    """Spot prices at the monitoring times."""
    r, q, v = p["rate"], p["dividend_yield"], p["volatility"]
    dt = p["maturity"] / steps
    drift = (r - q - 0.5 * v * v) * dt
    vol = v * math.sqrt(dt)
    prices, price = [], p["spot"]
    for z in normals:
        price = price * exp(drift + vol * z)
        prices.append(price)
    return prices


def option(model, p, normals):
    prices = path(p, p.get("steps", 1), normals)
    if model == "european":
        gain = payoff(p, prices[-1])
    elif model == "asian":
        total = 0.0
        for price in prices:
            total += ln(price) if p["averaging"] == "geometric" else price
        mean = total / p["steps"]
        gain = payoff(p, exp(mean) if p["averaging"] == "geometric" else mean)
    else:
        hit = any(s >= p["barrier"] if p["direction"] == "up" else s <= p["barrier"] for s in prices)
        gain = payoff(p, prices[-1]) if hit == (p["knock"] == "in") else 0.0
    return exp(-p["rate"] * p["maturity"]) * gain


def quarter(x, y):
    return 4.0 if x * x + y * y <= 1.0 else 0.0


def sample(spec, index):
    model, p, anti = spec["model"], spec.get("params", {}), spec.get("antithetic", False)
    count = 2 if model == "pi" else p.get("steps", 1)
    u = [uniform(w) for w in words(int(spec["seed"]), int(spec.get("stream", 0)), index, count)]
    if model == "pi":
        value = quarter(*u)
        return (value + quarter(1 - u[0], 1 - u[1])) / 2 if anti else value
    z = [normal(x) for x in u]
    value = option(model, p, z)
    return (value + option(model, p, [-x for x in z])) / 2 if anti else value


def market(**more):
    base = {"spot": 100, "strike": 105, "rate": 0.05, "dividend_yield": 0.01, "volatility": 0.3, "maturity": 0.75, "option": "call"}
    return base | more


def asian(**more):
    return market(steps=6, averaging="arithmetic") | more


def barrier(**more):
    return market(steps=5, barrier=125.0, direction="up", knock="out") | more


ALL = ["mean", "variance", "stderr", "hist", "quantiles"]
jobs = [
    {"model": "pi", "seed": 1},
    {"model": "pi", "seed": 1, "antithetic": True},
    {"model": "european", "params": market(), "seed": 42},
    {"model": "european", "params": market(option="put", volatility=0.0), "seed": 42},
    {"model": "european", "params": market(option="put", rate=-0.01), "seed": "18446744073709551615", "stream": 9, "antithetic": True},
    {"model": "asian", "params": asian(), "seed": 5, "stream": "12345678901234567890"},
    {"model": "asian", "params": asian(option="put", steps=4), "seed": 5, "antithetic": True},
    {"model": "asian", "params": asian(averaging="geometric", steps=7), "seed": 6},
    {"model": "barrier", "params": barrier(), "seed": 8},
    {"model": "barrier", "params": barrier(knock="in", steps=9), "seed": 8, "antithetic": True},
    {"model": "barrier", "params": barrier(direction="down", barrier=90, option="put"), "seed": 10},
    {"model": "barrier", "params": barrier(direction="down", barrier=80.5, knock="in", option="put", maturity=2.5), "seed": 11},
]

rows = []
for job in jobs:
    edges = [0.0, 2.0, 4.0] if job["model"] == "pi" else [0.0, 1.25, 5.0, 20.0, 60.0]
    quantiles = [0.0, 0.05, 0.5, 0.7, 0.9, 0.99, 1.0]
    spec = job | {"samples": 331, "outputs": ALL, "hist": {"edges": edges}, "quantiles": quantiles, "exact_tail": True}
    values = [sample(spec, i) for i in range(spec["samples"])]
    mean, variance, stderr = statistics(values)
    counts, _ = numpy.histogram(values, edges)
    lower = [float(numpy.quantile(values, q, method="lower")) for q in quantiles]
    expected = {
        "values": " ".join(bits(v) for v in values),
        "mean": bits(mean),
        "variance": bits(variance),
        "stderr": bits(stderr),
        "min": bits(min(values)),
        "max": bits(max(values)),
        "counts": [int(c) for c in counts],
        "under": sum(v < edges[0] for v in values),
        "over": sum(v > edges[-1] for v in values),
        "quantiles": [bits(x) for x in lower],
    }
    rows.append(json.dumps({"spec": spec, "expected": expected}))
publish("paths.json", "[\n" + ",\n".join(rows) + "\n]\n")
