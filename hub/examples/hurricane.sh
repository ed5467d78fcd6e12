#!/bin/sh
# The loss curve of hurricane Andrew, August 1992: its best track (public domain, NOAA), perturbed, over made-up values of Florida towns.
set -eu
cat > andrew.csv << 'T'
track,node,dt_h,lat,lon,vmax_kn,pcen_mb,penv_mb,rmax_nm
AL041992,0,6,25.8,-67.5,60,1000,1012,0
AL041992,1,6,25.6,-69.7,75,991,1012,0
AL041992,2,6,25.4,-71.1,95,969,1012,0
AL041992,3,6,25.4,-72.5,110,961,1012,0
AL041992,4,6,25.4,-74.2,125,947,1012,0
AL041992,5,6,25.4,-75.8,150,933,1012,0
AL041992,6,6,25.4,-77.5,145,922,1012,0
AL041992,7,6,25.4,-79.3,125,930,1012,0
AL041992,8,6,25.6,-81.2,120,937,1012,0
AL041992,9,6,25.8,-83.1,115,951,1012,0
AL041992,10,6,26.2,-85.0,115,947,1012,0
T
cat > towns.csv << 'T'
lat,lon,value
25.77,-80.19,6200000000
25.47,-80.48,900000000
26.12,-80.14,3900000000
26.71,-80.06,2100000000
26.14,-81.79,1300000000
26.64,-81.87,1500000000
24.56,-81.78,600000000
27.95,-82.46,3100000000
T
printf '{"kind":"cat_model","spec":{"tracks":"%s","tracks_format":"csv","exposure":"%s","members":99,"include_original":true,
"perturb":{"max_shift_ini":0.75,"max_dspeed_rel":0.3,"max_ddirection":0.00873,"autocorr_dspeed":0.85,"autocorr_ddirection":0.5},
"dt_h":1,"wind":"H08","wind_threshold":17.5,"vulnerability":{"kind":"analytic","v_threshold":25.7,"v_half":74.7},
"years":30,"rates":null,"years_simulated":50000,"return_periods":[50,100,200,500,1000,2000],"seed":1992}}' \
    "$(forge blob put andrew.csv)" "$(forge blob put towns.csv)" > hurricane.json
id=$(forge submit --spec hurricane.json -o id)
forge job wait "$id" > /dev/null
forge job result "$id"
forge job plot "$id" hurricane.svg
