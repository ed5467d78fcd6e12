#!/bin/sh
# Patterns of variability of a real field: Pacific sea-surface temperature, November to March.
set -eu
if [ ! -f sst_ndjfm_anom.nc ]; then
    python3 -m pip download --quiet --no-deps --dest . eofs==2.0.0
    python3 - << 'P'
import glob, zipfile
with zipfile.ZipFile(glob.glob("eofs-2.0.0*.whl")[0]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith("sst_ndjfm_anom.nc"))
    open("sst_ndjfm_anom.nc", "wb").write(wheel.read(name))
P
fi
field=$(forge blob put sst_ndjfm_anom.nc)
printf '{"kind":"climate_pca","spec":{"members":["%s"],"layout":"netcdf3","var":"sst","lat":"from_file","weights":"sqrt_cos_lat",
"modes":4,"mask":"fill","outputs":["eigenvalues","eofs","pcs"]}}' "$field" > sea_surface.json
id=$(forge submit --spec sea_surface.json -o id)
forge job wait "$id" > /dev/null
forge job result "$id"
forge job plot "$id" sea_surface.svg
