"""Closed forms of the models of models.py: Heston by inversion, normal VaR and expected shortfall, integrals, bootstraps."""

import json
import math
from statistics import NormalDist

import mpmath
from mpmath import erf, exp, log, mpc, mpf, pi, quad, sqrt

from models import COLUMNS, COVARIANCE
from oracle import bits, publish

mpmath.mp.prec = 100


def characteristic(p, u):
    """E[exp(iu·ln S_T)], in the form whose logarithm stays on its main branch (Albrecher et al. 2007)."""
    s, r, q, t = (mpf(p[f]) for f in ("spot", "rate", "dividend_yield", "maturity"))
    v0, kappa, theta, xi, rho = (mpf(p[f]) for f in ("v0", "kappa", "theta", "xi", "rho"))
    i = mpc(0, 1)
    b = kappa - rho * xi * i * u
    d = sqrt(b * b + xi * xi * (i * u + u * u))
    g = (b - d) / (b + d)
    e = exp(-d * t)
    c = kappa * theta / xi**2 * ((b - d) * t - 2 * log((1 - g * e) / (1 - g)))
    return exp(i * u * (log(s) + (r - q) * t) + c + (b - d) / xi**2 * (1 - e) / (1 - g * e) * v0)


def heston(p):
    s, k, r, q, t = (mpf(p[f]) for f in ("spot", "strike", "rate", "dividend_yield", "maturity"))
    i = mpc(0, 1)
    forward = characteristic(p, -i)

    def probability(phi):
        return mpf(1) / 2 + quad(lambda u: (exp(-i * u * log(k)) * phi(u) / (i * u)).real, [0, 5, 20, 80, 320]) / pi

    above = probability(lambda u: characteristic(p, u))
    shares = probability(lambda u: characteristic(p, u - i) / forward)
    call = s * exp(-q * t) * shares - k * exp(-r * t) * above
    return float(call if p["option"] == "call" else call - s * exp(-q * t) + k * exp(-r * t))


def market(**more):
    base = {"spot": 100, "strike": 100, "rate": 0.03, "dividend_yield": 0.01, "maturity": 1.0, "option": "call"}
    return base | {"steps": 32, "v0": 0.05, "kappa": 2.0, "theta": 0.04, "xi": 0.3, "rho": -0.5} | more


# Broadie and Kaya (2006), table 1: 6.8061.
published = market(rate=0.0319, dividend_yield=0, v0=0.010201, kappa=6.21, theta=0.019, xi=0.61, rho=-0.7)
assert abs(heston(published) - 6.8061) < 5e-5, heston(published)

means = [("heston", p, heston(p)) for p in (market(), market(option="put", strike=110, rho=0.4, maturity=0.5), market(xi=0.5, theta=0.09))]
box = {"expression": "exp(-(x0*x0 + x1*x1))", "lower": [-1, 0], "upper": [2, 0.5]}
means.append(("integral", box, float(sqrt(pi) / 2 * (erf(1) + erf(2)) * sqrt(pi) / 2 * erf(mpf(1) / 2))))
call = {"expression": "exp(-r*t)*max(s*exp((r - v^2/2)*t + v*sqrt(t)*z0) - k, 0)", "constants": {"s": 100, "k": 100, "r": 0.05, "v": 0.2, "t": 1}}
means.append(("expr", call, 10.450583572185565))
means.append(("expr", {"expression": "if(u0^2 + u1^2 <= 1, 4, 0)"}, math.pi))

# What is measured is the loss: the weights stand with the other sign.
weights, mean = [-100, 250.5, -75], [0.01, -0.003, 0.002]
centre = sum(w * m for w, m in zip(weights, mean))
spread = math.sqrt(sum(weights[i] * weights[j] * COVARIANCE[i][j] for i in range(3) for j in range(3)))
normal = NormalDist()
losses = {
    "params": {"weights": weights, "mean": mean, "covariance": COVARIANCE},
    "mean": centre,
    "variance": spread**2,
    "levels": [
        {
            "q": q,
            "value_at_risk": centre + spread * normal.inv_cdf(q),
            "expected_shortfall": centre + spread * normal.pdf(normal.inv_cdf(q)) / (1 - q),
            # Of a sample quantile: sqrt(q(1 - q)/n) over the density there.
            "error_of_one": spread * math.sqrt(q * (1 - q)) / normal.pdf(normal.inv_cdf(q)),
        }
        for q in (0.95, 0.99)
    ],
}

column = COLUMNS[1][1]
centre = sum(column) / len(column)
resampled = {
    "column": " ".join(bits(x) for x in column),
    "mean": centre,
    "variance": sum((x - centre) ** 2 for x in column) / len(column) ** 2,
}

document = {"means": [{"model": m, "params": p, "value": v} for m, p, v in means], "losses": losses, "resampled": resampled}
publish("model_forms.json", json.dumps(document, indent=1) + "\n")
