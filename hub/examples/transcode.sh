#!/bin/sh
# Transcodes a film to FFV1 and PCM in mov: every frame and sample as in a single pass.
set -eu
film=${1:-}
if [ -z "$film" ]; then
    film=film.mp4
    ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=s=320x180:r=30000/1001:d=6 -f lavfi -i sine=f=440:d=6 \
        -c:v libx264 -bf 2 -g 48 -c:a aac -shortest "$film"
fi
input=$(forge blob put "$film")
printf '{"kind":"ffmpeg","spec":{"input":"%s","video":{"codec":"ffv1","args":{},"filters":[],"cell_frames":48},
"audio":[{"track":0,"codec":"pcm_s16le"}],"container":"mov","subtitle":"drop"}}' "$input" > transcode.json
id=$(forge submit --spec transcode.json -o id)
forge job wait "$id" > /dev/null
forge job result "$id"
forge job result "$id" --save transcode > /dev/null
mv transcode/output transcoded.mov
echo transcoded.mov
# A contact sheet: six pictures of the film, and below them the same ones of the output.
frames=$(forge job result "$id" -o json | sed -E 's/.*"frames":([0-9]+).*/\1/')
pick="select=not(mod(n\\,$(((frames + 5) / 6)))),scale=240:-2,tile=6x1:padding=4:color=white"
ffmpeg -nostdin -v error -y -i "$film" -i transcoded.mov \
    -filter_complex "[0:v]$pick[film];[1:v]$pick[output];[film][output]vstack" -frames:v 1 -update 1 transcoded.png
echo transcoded.png
