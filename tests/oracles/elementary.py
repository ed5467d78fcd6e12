"""exp and ln, rounded once from 200 bits."""

import math

from oracle import bits, exp, from_bits, ln, publish, uniform, words

rows = []
u = [uniform(w) for w in words(11, 0, 0, 900)]
# exp: small, usual and large arguments whose results are normal; hard cases of rounding from the CORE-MATH tests.
arguments = [x * 2 - 1 for x in u[:300]] + [x * 1400 - 700 for x in u[300:600]]
arguments += [0.0, -0.0, 1.0, -1.0, 2.0**-54, -(2.0**-60), 709.78, -708.39]
arguments += [float.fromhex(h) for h in ("0x1.fffffffffffffp-53", "0x1.ba07d73250de7p-14", "0x1.d6479eba7c971p+8", "-0x1.8f80e06f3a04cp+4")]
rows += [f"exp,{bits(x)},{bits(exp(x))}" for x in arguments]
arguments = u[600:800] + [x * 1e6 for x in u[800:]]
arguments += [1.0, math.nextafter(1.0, 2), math.nextafter(1.0, 0), 2.0**-1074, 2.0**-1022, from_bits("7fefffffffffffff")]
rows += [f"ln,{bits(x)},{bits(ln(x))}" for x in arguments]
publish("elementary.csv", "function,argument,value\n" + "\n".join(rows) + "\n")
