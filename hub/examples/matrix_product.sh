#!/bin/sh
# Multiplies two matrices of doubles in .npy files.
set -eu
a=${1:-} b=${2:-}
if [ -z "$a" ]; then
    a=left.npy b=right.npy
    python3 - "$a" "$b" << 'P'
import struct, sys
def save(path, rows, columns, entry):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as out:
        out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        out.write(b"".join(struct.pack("<d", entry(i, j)) for i in range(rows) for j in range(columns)))
save(sys.argv[1], 300, 200, lambda i, j: (i - j) % 7 - 3.0)
save(sys.argv[2], 200, 240, lambda i, j: (i * j) % 5 - 2.0)
P
fi
id=$(forge submit blas op=gemm dtype=f64 "A=$(forge blob put "$a")" "B=$(forge blob put "$b")" -o id)
forge job wait "$id" > /dev/null
forge job result "$id"
forge job result "$id" --save matrix_product > /dev/null
mv matrix_product/C product.npy
echo product.npy
forge job plot "$id" matrix_product.svg
