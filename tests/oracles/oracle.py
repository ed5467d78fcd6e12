"""What the oracle scripts share: streams, uniforms, normals, correctly rounded functions, and files."""

import math
import pathlib
import struct
import sys

import mpmath
import numpy

# The C version of the normal quantile calls the platform's logarithm; the Python version calls ours.
sys.modules["_statistics"] = None
import statistics  # noqa: E402

mpmath.mp.prec = 200
DATA = pathlib.Path(__file__).parent / "data"


def bits(x):
    return f"{struct.unpack('<Q', struct.pack('<d', x))[0]:016x}"


def from_bits(text):
    return struct.unpack("<d", struct.pack("<Q", int(text, 16)))[0]


def exp(x):
    """Correctly rounded, for results in the normal range."""
    if math.isinf(x):
        return math.inf if x > 0 else 0.0
    return float(mpmath.exp(mpmath.mpf(x)))


def ln(x):
    """Correctly rounded."""
    return float(mpmath.log(mpmath.mpf(x)))


def function(name):
    """A function of mpmath's, correctly rounded; arguments and results are finite, results in the normal range."""

    def rounded(*arguments):
        return float(getattr(mpmath, name)(*(mpmath.mpf(x) for x in arguments)))

    return rounded


sin, cos, tanh, power = (function(name) for name in ("sin", "cos", "tanh", "power"))

statistics.log = ln
_standard = statistics.NormalDist()


def words(seed, stream, sample, count, purpose=0):
    """The first words of a sample. NumPy increments the counter before its first block."""
    # A plain list of large and small integers would pass through floats.
    key = numpy.array([seed, stream], dtype=numpy.uint64)
    counter = numpy.array([0, sample, 0, purpose], dtype=numpy.uint64)
    generator = numpy.random.Philox(key=key, counter=counter)
    return [int(w) for w in generator.random_raw(count)]


def uniform(word):
    u = ((word >> 11) + 0.5) * 2.0**-53
    return u if u < 1.0 else 1.0 - 2.0**-53


def normal(u):
    return _standard.inv_cdf(u)


def rounded(value):
    """The same with every float to 12 digits: the platform's elementary functions differ in the last ones."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def publish(name, text):
    """Writes the file, or with --check compares it with the committed one."""
    path = DATA / name
    if "--check" in sys.argv:
        if path.read_text() != text:
            sys.exit(f"{name}: the committed numbers differ from the recomputed ones")
        print(f"{name}: equal")
    else:
        path.write_text(text)
        print(f"{name}: {len(text)} bytes")
