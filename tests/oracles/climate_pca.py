"""Principal components by `eofs` and NumPy: of fields that a formula gives, and of the two real files that `eofs` ships.

Only small derived numbers are written: eigenvalues, some entries of the patterns and series. The fields of the formula are
made of integers and of + - * / alone, so that other languages get the same doubles.
"""

import json
import pathlib
import sys

import eofs
import numpy
from eofs.standard import Eof
from scipy.io import netcdf_file

import oracle

NAME = "climate_pca.json"
FILES = pathlib.Path(eofs.__file__).parent / "examples" / "example_data"


def field(samples, rows, columns, seed):
    """Three patterns that drift, an annual-like step, and noise."""
    out = numpy.empty((samples, rows, columns))
    for s in range(samples):
        for r in range(rows):
            for c in range(columns):
                noise = ((s * 7919 + r * 104729 + c * 1299709 + s * r * 31 + s * c * 17 + seed * 97) % 1009) / 1009 - 0.5
                first = ((s * 37 + seed) % 101 - 50) / 50 * (r - c / 2)
                second = ((s * 53 + 11) % 89 - 44) / 44 * ((r * 3 + c * 5) % 7 - 3)
                third = ((s * 71 + 5) % 97 - 48) / 48 * ((c * 11 + r * r) % 5 - 2)
                out[s, r, c] = first + second * 0.5 + third * 0.25 + noise
    return out


def masked(values):
    """The same points in every sample."""
    out = values.copy()
    rows, columns = values.shape[1:]
    for r in range(rows):
        for c in range(columns):
            if (r * 5 + c * 3) % 7 == 0:
                out[:, r, c] = numpy.nan
    return out


def latitudes(rows):
    """Descending, both poles left out."""
    return [80.0 - 160.0 * r / (rows - 1) for r in range(rows)]


def signed(patterns, series):
    """Our rule: the largest entry, after rounding to 40 bits, is positive; the first one wins a tie."""
    for k in range(len(patterns)):
        flat = patterns[k].ravel()
        keys = [0 if numpy.isnan(x) else (numpy.abs(x).view(numpy.uint64).item() + (1 << 12)) >> 13 for x in flat]
        if flat[keys.index(max(keys))] < 0:
            patterns[k] *= -1
            series[:, k] *= -1
    return patterns, series


def by_eofs(values, weights, modes, ddof=1):
    """Values, patterns in weighted space, series, total variance, North's errors, reconstruction."""
    solver = Eof(values, weights=weights, center=True, ddof=ddof)
    patterns = numpy.ma.filled(solver.eofs(neofs=modes), numpy.nan)
    series = numpy.ma.filled(solver.pcs(npcs=modes), numpy.nan)
    patterns, series = signed(numpy.array(patterns, dtype=float), numpy.array(series, dtype=float))
    rebuilt = numpy.ma.filled(solver.reconstructedField(modes), numpy.nan) + values.mean(axis=0)
    return {
        "eigenvalues": solver.eigenvalues(modes),
        "variance_fraction": solver.varianceFraction(modes),
        "north_error": solver.northTest(modes),
        "total_variance": solver.totalAnomalyVariance(),
        "eofs": patterns,
        "pcs": series,
        "reconstruction": rebuilt,
    }


def by_numpy(members, weights, modes):
    """Each member about its own mean: `eofs` has no such choice."""
    anomalies = numpy.concatenate([m - m.mean(axis=0) for m in members]) * weights
    flat = anomalies.reshape(len(anomalies), -1)
    valid = ~numpy.isnan(flat[0])
    u, s, v = numpy.linalg.svd(flat[:, valid], full_matrices=False)
    divisor = len(flat) - len(members)
    values = s**2 / divisor
    patterns = numpy.full((modes, flat.shape[1]), numpy.nan)
    patterns[:, valid] = v[:modes]
    patterns = patterns.reshape(modes, *anomalies.shape[1:])
    patterns, series = signed(patterns, u[:, :modes] * s[:modes])
    means = numpy.concatenate([numpy.broadcast_to(m.mean(axis=0), m.shape) for m in members])
    rebuilt = means + numpy.einsum("nk,krc->nrc", series, patterns) / weights
    return {
        "eigenvalues": values[:modes],
        "variance_fraction": values[:modes] / values.sum(),
        "north_error": values[:modes] * numpy.sqrt(2 / len(flat)),
        "total_variance": values.sum(),
        "eofs": patterns,
        "pcs": series,
        "reconstruction": rebuilt,
    }


def digits(x):
    """More digits than are compared, fewer than depend on the machine."""
    return float(f"{x:.13g}")


def entries(array, count):
    """About that many entries, by their place in C order; null where masked."""
    flat = numpy.asarray(array, dtype=float).ravel()
    step = max(1, len(flat) // count)
    return [[i, None if numpy.isnan(flat[i]) else digits(flat[i])] for i in range(0, len(flat), step)]


def told(name, how, result, count):
    row = {"name": name, **how}
    for key in ["eigenvalues", "variance_fraction", "north_error"]:
        row[key] = [digits(x) for x in result[key]]
    values, errors = result["eigenvalues"], result["north_error"]
    row["degenerate"] = [[k, k + 1] for k in range(1, len(values)) if values[k - 1] - values[k] < errors[k - 1]]
    row["total_variance"] = digits(result["total_variance"])
    for key in ["eofs", "pcs", "reconstruction"]:
        row[key] = entries(result[key], count)
    return row


def generated():
    rows = []
    for name, samples, shape, mask, weights, modes, offset in [
        ("samples are fewer", 24, (6, 9), True, "sqrt_cos_lat", 4, 0.0),
        ("points are fewer", 61, (4, 6), True, "cos_lat", 3, 0.0),
        ("nothing weighted, nothing masked", 20, (5, 8), False, "none", 5, 0.0),
        ("a large offset", 30, (7, 7), True, "sqrt_cos_lat", 4, 1e8),
    ]:
        values = field(samples, *shape, seed=3) + offset
        values = masked(values) if mask else values
        cos = numpy.cos(numpy.deg2rad(latitudes(shape[0])))[:, numpy.newaxis]
        weight = {"none": None, "cos_lat": cos, "sqrt_cos_lat": numpy.sqrt(cos)}[weights]
        how = {"members": [samples], "shape": shape, "mask": mask, "weights": weights, "modes": modes, "offset": offset,
               "center": "grand"}
        rows.append(told(name, how, by_eofs(values, weight, modes), 150))
    for center in ["grand", "member"]:
        sizes, shape, modes = [11, 7, 12], (6, 8), 4
        # Each member has a level of its own, which the grand mean leaves in and the member's mean takes out.
        members = [masked(field(n, *shape, seed=10 * i) + 2.0 * i) for i, n in enumerate(sizes)]
        weight = numpy.sqrt(numpy.cos(numpy.deg2rad(latitudes(shape[0]))))[:, numpy.newaxis]
        how = {"members": sizes, "shape": shape, "mask": True, "weights": "sqrt_cos_lat", "modes": modes, "offset": 0.0,
               "center": center}
        result = by_eofs(numpy.concatenate(members), weight, modes) if center == "grand" else by_numpy(members, weight, modes)
        rows.append(told(f"an ensemble about the {center} mean", how, result, 150))
    return rows


def real():
    rows = []
    for name, var, weights in [("hgt_djf.nc", "z", "sqrt_cos_lat"), ("sst_ndjfm_anom.nc", "sst", "sqrt_cos_lat"),
                               ("sst_ndjfm_anom.nc", "sst", "none")]:
        with netcdf_file(FILES / name, "r", mmap=False) as file:
            values = numpy.array(file.variables[var][:], dtype=float).squeeze()
            latitude = numpy.array(file.variables["latitude"][:], dtype=float)
        values[values == 1e20] = numpy.nan
        weight = numpy.sqrt(numpy.cos(numpy.deg2rad(latitude)).clip(0.0, 1.0))[:, numpy.newaxis]
        how = {"var": var, "weights": weights, "modes": 5, "n": values.shape[0], "p": values[0].size,
               "p_valid": int((~numpy.isnan(values[0])).sum())}
        rows.append(told(name, how, by_eofs(values, None if weights == "none" else weight, 5), 150))
    return rows


def close(found, expected, key=""):
    """The last bits of LAPACK depend on the machine, so numbers are compared as the Rust tests do."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[k], expected[k], k) for k in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(a, b, key) for a, b in zip(found, expected))
    if isinstance(expected, float) and isinstance(found, float):
        return abs(found - expected) <= 1e-8 * max(1.0, abs(expected))
    return found == expected


if __name__ == "__main__":
    rows = {"generated": generated(), "real": real()}
    if "--check" in sys.argv:
        committed = json.loads((oracle.DATA / NAME).read_text())
        if not close(json.loads(json.dumps(rows)), committed):
            sys.exit(f"{NAME}: the committed numbers differ from the recomputed ones")
        print(f"{NAME}: equal within 1e-8")
    else:
        lines = [f'"{key}": [\n' + ",\n".join(json.dumps(row) for row in rows[key]) + "\n]" for key in rows]
        oracle.publish(NAME, "{\n" + ",\n".join(lines) + "\n}\n")
