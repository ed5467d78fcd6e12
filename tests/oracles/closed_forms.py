"""Prices in closed form: pi, Black-Scholes, and the discretely averaged geometric Asian option."""

import json

from mpmath import erfc, exp, log, mpf, pi, sqrt

from oracle import publish


def phi(x):
    return erfc(-x / sqrt(2)) / 2


def lognormal(option, mean, variance, strike, discount):
    """Discounted payoff on exp(N(mean, variance))."""
    sd = sqrt(variance)
    d2 = (mean - log(strike)) / sd
    d1 = d2 + sd
    forward = exp(mean + variance / 2)
    if option == "call":
        return discount * (forward * phi(d1) - strike * phi(d2))
    return discount * (strike * phi(-d2) - forward * phi(-d1))


def price(model, p):
    s, k, r, q, v, t = (mpf(p[f]) for f in ("spot", "strike", "rate", "dividend_yield", "volatility", "maturity"))
    drift = r - q - v * v / 2
    if model == "european":
        mean, variance = log(s) + drift * t, v * v * t
    else:
        n = p["steps"]
        mean = log(s) + drift * t * (n + 1) / (2 * mpf(n))
        variance = v * v * t * (n + 1) * (2 * n + 1) / (6 * mpf(n) ** 2)
    return lognormal(p["option"], mean, variance, k, exp(-r * t))


def market(**more):
    base = {"spot": 100, "strike": 100, "rate": 0.05, "dividend_yield": 0.0, "volatility": 0.2, "maturity": 1.0, "option": "call"}
    return base | more


jobs = [
    ("european", market()),
    ("european", market(option="put", dividend_yield=0.02, strike=110, volatility=0.35, maturity=0.5)),
    ("asian", market(steps=12, averaging="geometric")),
    ("asian", market(steps=4, averaging="geometric", option="put", strike=105, volatility=0.4)),
]
rows = [{"model": "pi", "params": {}, "price": float(pi)}]
rows += [{"model": model, "params": p, "price": float(price(model, p))} for model, p in jobs]
publish("closed_forms.json", "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
