"""Products and Cholesky factors by plain loops in ascending order, one rounding an operation, and the whole `.npy` files
that NumPy writes for them. Only the digest of each file is kept, and a few entries to look at."""

import io
import json

import numpy
from blake3 import blake3

from oracle import publish

MASK = 2**64 - 1


def words(seed, count):
    """SplitMix64."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out.append(z ^ (z >> 31))
    return out


def matrix(kind, seed, shape, dtype):
    """`signed`: in [-1, 1). `integers`: in [-1000, 1000]. `constant`: 0.1."""
    count = int(numpy.prod(shape))
    if kind == "signed":
        entries = [(w >> 11) / 2.0**52 - 1.0 for w in words(seed, count)]
    elif kind == "integers":
        entries = [float(w % 2001) - 1000.0 for w in words(seed, count)]
    else:
        entries = [0.1] * count
    return numpy.array(entries, dtype=numpy.float64).astype(dtype).reshape(shape)


def gemm(a, b, alpha, beta, c):
    dtype = a.dtype.type
    rows, inner = a.shape
    cols = b.shape[1]
    alpha, beta = dtype(alpha), dtype(beta)
    out = numpy.empty((rows, cols), dtype=dtype)
    for i in range(rows):
        for j in range(cols):
            acc = dtype(0)
            for k in range(inner):
                acc = acc + a[i, k] * b[k, j]
            out[i, j] = alpha * acc if beta == 0 else alpha * acc + beta * c[i, j]
    assert out.dtype == dtype
    return out


def definite(seed, n, dtype):
    """B·Bᵀ + n·I in exact integers, scaled: any order of summation gives it."""
    b = matrix("integers", seed, (n, n), numpy.float64).astype(numpy.int64)
    whole = b @ b.T + numpy.eye(n, dtype=numpy.int64) * (n * 1000)
    return (whole / 2.0**20).astype(dtype)


def cholesky(a):
    dtype = a.dtype.type
    n = len(a)
    low = numpy.zeros((n, n), dtype=dtype)
    for j in range(n):
        for i in range(j, n):
            s = a[i, j]
            for k in range(j):
                s = s - low[i, k] * low[j, k]
            low[i, j] = numpy.sqrt(s) if i == j else s / low[j, j]
    return low


def row(case, out):
    file = io.BytesIO()
    numpy.save(file, out)
    raw = file.getvalue()
    unsigned = numpy.uint32 if out.dtype == numpy.float32 else numpy.uint64
    flat = out.reshape(-1).view(unsigned)
    digits = 8 if out.dtype == numpy.float32 else 16
    some = [f"{int(x):0{digits}x}" for x in (flat[0], flat[len(flat) // 2], flat[-1])]
    return case | {"bytes": len(raw), "digest": f"blake3:{blake3(raw).hexdigest()}", "first_middle_last": some}


def products():
    for dtype in ("f32", "f64"):
        real = numpy.float32 if dtype == "f32" else numpy.float64
        for seed, (data, shape, alpha, beta) in enumerate([
            ("signed", (7, 11, 5), 1.0, 0.0),
            ("signed", (24, 40, 19), -0.7, 0.3),
            ("integers", (16, 33, 12), 1.0, 0.0),
            ("integers", (9, 20, 9), 2.0, -1.0),
            ("constant", (10, 128, 10), 1.0, 0.0),
            ("signed", (3, 300, 4), 0.1, 0.0),
        ]):
            m, k, n = shape
            a, b, c = (matrix(data, 10 * seed + x, s, real) for x, s in enumerate([(m, k), (k, n), (m, n)]))
            case = {"dtype": dtype, "data": data, "seed": 10 * seed, "shape": shape, "alpha": alpha, "beta": beta}
            out = gemm(a, b, alpha, beta, c)
            near = alpha * (a.astype(numpy.float64) @ b) + beta * c.astype(numpy.float64)
            assert numpy.allclose(out, near, rtol=1e-3 if dtype == "f32" else 1e-12, atol=1e-3 if dtype == "f32" else 1e-12)
            yield row({"op": "gemm"} | case, out)
            if n == 5 or beta != 0.0:
                square = matrix(data, 10 * seed + 2, (m, m), real)
                mirrored = numpy.tril(square) + numpy.tril(square, -1).T
                yield row({"op": "syrk"} | case, gemm(a, a.T, alpha, beta, mirrored))
                column = gemm(a, b[:, :1], alpha, beta, c[:, :1])
                yield row({"op": "gemv"} | case, column.reshape(-1))
        a, b = matrix("signed", 90, (4, 3, 6), real), matrix("signed", 91, (4, 6, 5), real)
        case = {"dtype": dtype, "data": "signed", "seed": 90, "shape": (4, 3, 6, 5), "alpha": 1.0, "beta": 0.0}
        yield row({"op": "gemm_batched"} | case, numpy.stack([gemm(x, y, 1.0, 0.0, None) for x, y in zip(a, b)]))
        for n in (1, 6, 37):
            a = definite(100 + n, n, real)
            low = cholesky(a)
            assert numpy.allclose(low @ low.T, a, rtol=1e-3 if dtype == "f32" else 1e-11)
            yield row({"op": "cholesky", "dtype": dtype, "seed": 100 + n, "order": n}, low)


publish("blas.json", "[\n" + ",\n".join(json.dumps(case) for case in products()) + "\n]\n")
