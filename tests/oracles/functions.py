"""sin, cos, tanh and pow to 200 bits by mpmath, rounded once: the functions of expressions besides exp and ln."""

import random

from oracle import bits, cos, power, publish, sin, tanh

random.seed(20261123)
angles = [random.uniform(-1, 1) * 2.0 ** random.randint(-30, 40) for _ in range(200)]
# The doubles nearest to multiples of pi/2 ask for the most bits.
angles += [1.5707963267948966, 3.141592653589793, -3.141592653589793, 6381956970095103 * 2.0**797, 1e22, 0.5]
bends = [random.uniform(-1, 1) * 2.0 ** random.randint(-20, 5) for _ in range(200)]
powers = [(2.0 ** random.uniform(-20, 20), random.uniform(-30, 30)) for _ in range(250)]
powers += [(2.0, 0.5), (10.0, 22.0), (10.0, 23.0), (1.0000000001, 1e10), (3.0, -2.0), (0.1, 3.0), (-3.0, 5.0)]

rows = ["function,first,second,value"]
rows += [f"{name},{bits(x)},,{bits(f(x))}" for name, f in (("sin", sin), ("cos", cos)) for x in angles]
rows += [f"tanh,{bits(x)},,{bits(tanh(x))}" for x in bends]
rows += [f"pow,{bits(x)},{bits(y)},{bits(power(x, y))}" for x, y in powers]
publish("functions.csv", "\n".join(rows) + "\n")
