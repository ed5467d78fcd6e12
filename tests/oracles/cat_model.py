"""Losses of three tracks and their members, and simulated years, from the published formulas in plain Python.

Reads `data/cat_model_tracks.csv` (hurricane Andrew 1992 by its public best track; two made-up storms, one of the south and across the
date line) and `data/cat_model_exposure.csv` (made up). Only Philox is NumPy's; the rest is the standard library.
"""

import bisect
import csv
import json
import math
from fractions import Fraction

import numpy

from oracle import DATA, publish, uniform
import statistics

NORMAL = statistics.NormalDist()
KM, NM, KN, RHO, OMEGA = 111.12, 1.852, 1852 / 3600, 1.15, 7.29e-5
PERTURB = {"max_shift_ini": 0.75, "max_dspeed_rel": 0.3, "max_ddirection": 0.00873, "autocorr_dspeed": 0.85, "autocorr_ddirection": 0.5}
ANALYTIC = {"kind": "analytic", "v_threshold": 25.7, "v_half": 74.7}
TABLE_V = [float(v) for v in range(0, 121, 5)]


def emanuel(v):
    x = max(0.0, v - 25.7) / (74.7 - 25.7)
    return x**3 / (1 + x**3)


TABLE = {"kind": "table", "v": TABLE_V, "mdr": [emanuel(v) for v in TABLE_V]}


def philox(seed, stream, second, third, purpose, count):
    key = numpy.array([seed, stream], dtype=numpy.uint64)
    counter = numpy.array([0, second, third, purpose], dtype=numpy.uint64)
    return [uniform(int(w)) for w in numpy.random.Philox(key=key, counter=counter).random_raw(count)]


def wrap(x):
    return (x + 180.0) % 360.0 - 180.0


def load():
    tracks = {}
    for row in csv.DictReader(open(DATA / "cat_model_tracks.csv")):
        number = lambda name: float(row[name]) if row[name] else None
        node = dict(dt=number("dt_h"), lat=number("lat"), lon=number("lon"), vmax=number("vmax_kn"))
        node |= dict(pcen=number("pcen_mb"), penv=number("penv_mb"), rmax=number("rmax_nm"))
        tracks.setdefault(row["track"], []).append(node)
    points = [tuple(float(x) for x in row) for row in list(csv.reader(open(DATA / "cat_model_exposure.csv")))[1:]]
    return list(tracks.values()), points


def interpolate(x, xs, ys):
    if x <= xs[0]:
        return ys[0]
    for (x0, y0), (x1, y1) in zip(zip(xs, ys), zip(xs[1:], ys[1:])):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return ys[-1]


def resample(track, step):
    times = [sum(n["dt"] for n in track[1 : i + 1]) for i in range(len(track))]
    lons = [track[0]["lon"]]
    for a, b in zip(track, track[1:]):
        lons.append(lons[-1] + wrap(b["lon"] - a["lon"]))
    found = []
    for i in range(int(times[-1] / step) + 1):
        node = {"dt": step}
        for name in ("lat", "vmax", "pcen", "penv", "rmax"):
            values = [n[name] for n in track]
            at = bisect.bisect_right(times, i * step)
            around = values[max(at - 1, 0) : at + 1] if times[at - 1] != i * step else values[at - 1 : at]
            node[name] = None if None in around else interpolate(i * step, times, [v or 0.0 for v in values])
        node["lon"] = interpolate(i * step, times, lons)
        found.append(node)
    return found


def fill(track):
    xs, ys = (872, 940, 980, 1021), (14.907318, 15.726927, 25.742142, 56.856522)
    return [n | {"rmax": n["rmax"] or interpolate(n["pcen"], xs, ys)} for n in track]


def bearing(a, b):
    p1, p2, d = math.radians(a["lat"]), math.radians(b["lat"]), math.radians(b["lon"] - a["lon"])
    return math.atan2(math.sin(d) * math.cos(p2), math.cos(p1) * math.sin(p2) - math.sin(p1) * math.cos(p2) * math.cos(d))


def arc(a, b):
    p1, p2, d = math.radians(a["lat"]), math.radians(b["lat"]), math.radians(b["lon"] - a["lon"])
    h = math.sin((p2 - p1) / 2) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(d / 2) ** 2
    return 2 * math.asin(math.sqrt(h))


def chain(fresh, steps, correlation):
    z, found = None, []
    for u, dt in zip(fresh, steps):
        e = NORMAL.inv_cdf(u)
        rho = correlation**dt
        z = e if z is None else rho * z + math.sqrt(1 - rho * rho) * e
        found.append(0.5 * math.erfc(-z / math.sqrt(2)))
    return found


def perturb(track, j, member, seed, stream):
    p, n = PERTURB, len(track)
    draw = lambda purpose, count: philox(seed, stream, member, j, purpose, count)
    east, north = (p["max_shift_ini"] * (2 * u - 1) for u in draw(2, 2))
    steps = [node["dt"] for node in track[1:]]
    turns = chain(draw(3, n), steps, p["autocorr_ddirection"])
    speeds = chain(draw(4, n), steps, p["autocorr_dspeed"])
    lat, lon, turned = track[0]["lat"] + north, track[0]["lon"] + east, 0.0
    moved = [track[0] | {"lat": lat, "lon": lon}]
    for a, b, dt, u, w in zip(track, track[1:], steps, turns, speeds):
        turned += dt * p["max_ddirection"] * (2 * u - 1)
        direction, length = bearing(a, b) + turned, arc(a, b) * (1 + p["max_dspeed_rel"] * (2 * w - 1))
        phi = math.radians(lat)
        sine = math.sin(phi) * math.cos(length) + math.cos(phi) * math.sin(length) * math.cos(direction)
        lon += math.degrees(
            math.atan2(math.sin(direction) * math.sin(length) * math.cos(phi), math.cos(length) - math.sin(phi) * sine)
        )
        lat = math.degrees(math.asin(sine))
        if abs(lat) > 70:
            break
        moved.append(b | {"lat": lat, "lon": lon})
    return moved


def winds(track, points, model):
    best = [0.0] * len(points)
    for a, b in zip(track, track[1:]):
        dt = b["dt"]
        move_e = KM * wrap(b["lon"] - a["lon"]) * math.cos(math.radians(a["lat"])) / dt / 3.6
        move_n = KM * (b["lat"] - a["lat"]) / dt / 3.6
        speed = math.hypot(move_e, move_n)
        if speed > 30 * KN:
            move_e, move_n, speed = move_e * 30 * KN / speed, move_n * 30 * KN / speed, 30 * KN
        pcen, before = min(b["pcen"], b["penv"]), min(a["pcen"], a["penv"])
        drop = max(1e-300, b["penv"] - pcen)
        f = 2 * OMEGA * math.sin(math.radians(abs(b["lat"])))
        radius = b["rmax"] * NM
        if model == "H80":
            top = max(0.0, b["vmax"] * KN - speed) / 0.9
            shape = min(2.5, max(1.0, top * top * math.e * RHO / (drop * 100)))
        else:
            shape = -4.4e-5 * drop**2 + 0.01 * drop + 0.03 * (pcen - before) / dt - 0.014 * abs(b["lat"])
            shape += 0.15 * speed ** (0.6 * (1 - drop / 215)) + 1
            shape = min(2.025, max(0.81, shape))
        peak = math.sqrt(shape / (RHO * math.e) * drop * 100)
        curve = lambda r: (radius / r) ** shape * math.exp(1 - (radius / r) ** shape)
        sign = -1 if b["lat"] < 0 else 1
        for i, (lat, lon, _) in enumerate(points):
            x, y = KM * wrap(lon - b["lon"]) * math.cos(math.radians(b["lat"])), KM * (lat - b["lat"])
            r = math.hypot(x, y)
            if r > 300 or r < 0.001:
                continue
            near = min(1.0, radius / r)
            if model == "H10":
                exponent = 0.5
                if r > radius:
                    far = math.log(17 / peak) / math.log(curve(300.0))
                    exponent += (far - 0.5) * (r - radius) / (300 - radius)
                v = peak * curve(r) ** max(0.4, exponent) - speed * near
            else:
                c = r * 1000 * f / 2
                q = (radius / r) ** shape
                v = math.sqrt(max(0.0, shape / RHO * q * drop * 100 * math.exp(-q) + c * c)) - c
                v = v * 0.9 if model == "H80" else v - speed * near
            best[i] = max(best[i], math.hypot(-y / r * sign * v + move_e * near, x / r * sign * v + move_n * near))
    return best


def damage(curve, v):
    if curve["kind"] == "analytic":
        x = max(0.0, v - curve["v_threshold"]) / (curve["v_half"] - curve["v_threshold"])
        return x**3 / (1 + x**3)
    return interpolate(v, curve["v"], curve["mdr"])


def table(tracks, points, case):
    rows = []
    for j, given in enumerate(tracks):
        track = fill(resample(given, case["dt_h"]) if case["dt_h"] else given)
        for member in range(0 if case["include_original"] else 1, case["members"] + 1):
            moved = perturb(track, j, member, case["seed"], case["stream"]) if member else track
            best = winds(moved, points, case["wind"])
            loss = math.fsum(value * damage(case["vulnerability"], v) for (_, _, value), v in zip(points, best))
            rows.append([j, member, loss, max(best), sum(v > 0 for v in best)])
    return rows


def rates(case, rows):
    n = case["members"] + case["include_original"]
    return [(case["rates"][row[0]] if case["rates"] else 1 / case["years"]) / n for row in rows]


def rare_loss(events, rare):
    """The smallest loss x, 0 among them, of which the rate of losses above x is rare."""
    candidates = [0.0] + sorted({loss for loss, _ in events})
    return next(x for x in candidates if rare(math.fsum(rate for loss, rate in events if loss > x)))


def simulate(events, case):
    summed, all_rates = [], 0.0
    for _, rate in events:
        all_rates += rate
        summed.append(all_rates)
    found = []
    for year in range(case["years_simulated"]):
        draws = philox(case["seed"], case["stream"], year, 0, 5, 64)
        count, p = 0, math.exp(-all_rates)
        below = p
        while draws[0] > below:
            count += 1
            p *= all_rates / count
            below += p
        found.append(sum(events[bisect.bisect_right(summed, u * all_rates)][0] for u in draws[1 : count + 1]))
    return found


def panjer(events, cells=20000):
    """The distribution of a year's loss on a lattice: its width, and the probabilities."""
    total = math.fsum(rate for _, rate in events)
    width = max(loss for loss, _ in events) / 2000
    mass = {}
    for loss, rate in events:
        k = round(loss / width)
        mass[k] = mass.get(k, 0.0) + rate
    zero = mass.pop(0, 0.0)
    p = [math.exp(zero - total)]
    for n in range(1, cells):
        p.append(sum(k * rate * p[n - k] for k, rate in mass.items() if k <= n) / n)
    return width, p


def curves(case, rows):
    events = [(row[2], rate) for row, rate in zip(rows, rates(case, rows))]
    exact = sum(Fraction(loss) * Fraction(rate) for loss, rate in events)
    n = case["members"] + case["include_original"]
    square = 0.0
    for start in range(0, len(rows), n):
        losses = [row[2] for row in rows[start : start + n]]
        square += (events[start][1] * n) ** 2 * (statistics.variance(losses) / n if n > 1 else math.nan)
    years = simulate(events, case)
    width, p = panjer(events)
    result = {"aal": float(exact), "aal_stderr": math.sqrt(square), "periods": []}
    ordered = sorted(years, reverse=True)
    for period in case["return_periods"]:
        allowed = 1 / period
        below, k = 0.0, -1
        while 1 - below > allowed:
            k += 1
            below += p[k]
        passing = len(years) // period
        result["periods"].append(
            {
                "return_period": period,
                "frequency": rare_loss(events, lambda rate: rate <= allowed),
                "oep": rare_loss(events, lambda rate: 1 - math.exp(-rate) <= allowed),
                "aep": ordered[passing],
                "tvar": math.fsum(ordered[:passing]) / passing,
                "panjer": k * width,
                "width": width,
            }
        )
    return result


def main():
    tracks, points = load()
    base = dict(members=4, include_original=True, perturb=PERTURB, dt_h=None, wind="H08", wind_threshold=0.0)
    base |= dict(vulnerability=ANALYTIC, years=10, rates=None, years_simulated=2000, return_periods=[5, 10, 20, 50, 100])
    base |= dict(seed=42, stream=0)
    cases = [
        base,
        base | dict(wind="H80", vulnerability=TABLE, dt_h=1.0, members=2, seed=2**63 + 5, stream=7),
        base | dict(wind="H10", include_original=False, dt_h=0.5, members=3, years=None, rates=[0.5, 1.25, 0.0625]),
        base | dict(wind="H08", vulnerability=TABLE, dt_h=2.5, members=1, seed=1),
    ]
    found = []
    for case in cases:
        rows = table(tracks, points, case)
        found.append({"spec": case, "total_value": math.fsum(p[2] for p in points), "rows": rows} | curves(case, rows))
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in found)
    publish("cat_model.json", f"[\n{lines}\n]\n")


main()
