#!/usr/bin/env bash
# The whole path: a clip, a portrait, its figures, a film of it saying something new.
# Called by `make demo`: demo.sh FOLDER SIZE MINUTES [VIDEO] [SPEECH]
set -euo pipefail
folder=$1 size=$2 minutes=$3 video=${4:-} speech=${5:-}
mkdir -p "$folder"

if [ -n "$video" ]; then
  sspnerf prepare "$video" "$folder/clip" --size "$size" --overwrite
else
  sspnerf synth "$folder/clip" --size "$size" --seconds 8 --seed 0 --overwrite
fi

sspnerf train "$folder/clip" "$folder/run" --minutes "$minutes" --overwrite
sspnerf evaluate "$folder/run"

if [ -z "$speech" ]; then
  # A sentence that the portrait never heard, in the synthetic voice.
  sspnerf synth "$folder/sentence" --size 16 --seconds 5 --seed 7 --overwrite \
    --text "Good evening. This portrait was learned a few minutes ago, and it has never said this before."
  speech=$folder/sentence/speech.wav
fi
sspnerf render "$folder/run" "$speech" "$folder/film.mp4" --overwrite
echo
echo "The film:            $folder/film.mp4"
echo "Truth beside it:     $folder/run/evaluation/side_by_side.mp4"
echo "All figures:         $folder/run/evaluation/metrics.json"
