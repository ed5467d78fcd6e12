"""Winds and losses of the given tracks by CLIMADA 6.1.0 (GPL-3, not needed by anything else here), on our own tracks and points.

    pip install climada==6.1.0 numpy==2.4.6 mpmath==1.4.1

Where GDAL is not installed, an empty package of that name with an empty module `osgeo.gdal` is enough. Only the numbers it gives are kept.
"""

import csv
import json
import warnings

import numpy
import xarray

from climada.engine import ImpactCalc
from climada.entity import Exposures, ImpactFuncSet, ImpfTropCyclone
from climada.hazard import Centroids, TCTracks, TropCyclone
from oracle import DATA, publish

warnings.filterwarnings("ignore")
MODELS = {"H08": "H08", "H80": "H1980", "H10": "H10"}


def track(name, rows, number):
    column = lambda key: numpy.array([float(row[key] or 0) for row in rows])
    steps = column("dt_h")
    steps[0] = steps[1]
    hours = numpy.concatenate([[0], numpy.cumsum(steps[1:])])
    time = numpy.datetime64("2000-01-01T00", "s") + (hours * 3600).astype("timedelta64[s]")
    series = dict(time_step=steps, radius_max_wind=column("rmax_nm"), max_sustained_wind=column("vmax_kn"))
    series |= dict(central_pressure=column("pcen_mb"), environmental_pressure=column("penv_mb"))
    series = {key: ("time", values) for key, values in series.items()} | {"basin": ("time", ["NA"] * len(rows))}
    coordinates = dict(time=time, lat=("time", column("lat")), lon=("time", column("lon")))
    names = dict(name=name, sid=name, orig_event_flag=True, data_provider="own", id_no=float(number), category=5)
    units = dict(max_sustained_wind_unit="kn", central_pressure_unit="mb")
    return xarray.Dataset(series, coords=coordinates, attrs=units | names)


def main():
    by_name = {}
    for row in csv.DictReader(open(DATA / "cat_model_tracks.csv")):
        by_name.setdefault(row["track"], []).append(row)
    tracks = TCTracks([track(name, rows, i) for i, (name, rows) in enumerate(by_name.items())])
    points = numpy.loadtxt(DATA / "cat_model_exposure.csv", delimiter=",", skiprows=1)
    lat, lon, value = points.T
    exposures = Exposures(lat=lat, lon=lon, value=value, data={"impf_TC": numpy.ones(len(value), dtype=int)})
    function = ImpfTropCyclone.from_emanuel_usa()
    found = {"v": function.intensity.tolist(), "mdr": (function.mdd * function.paa).tolist(), "models": {}}
    for ours, theirs in MODELS.items():
        hazard = TropCyclone.from_tracks(
            tracks, Centroids(lat=lat, lon=lon), model=theirs, intensity_thres=0, ignore_distance_to_coast=True
        )
        winds = hazard.intensity.toarray()
        x = numpy.maximum(0.0, winds - 25.7) / (74.7 - 25.7)
        impact = ImpactCalc(exposures, ImpactFuncSet([function]), hazard).impact(assign_centroids=True)
        found["models"][ours] = {
            "max_wind": winds.max(axis=1).tolist(),
            "points_hit": (winds > 0).sum(axis=1).tolist(),
            "table": impact.at_event.tolist(),
            "analytic": (x**3 / (1 + x**3) @ value).tolist(),
        }
    publish("cat_model_climada.json", json.dumps(found, separators=(",", ":")) + "\n")


main()
