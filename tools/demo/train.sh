#!/bin/bash
# Training in runs of a few minutes on one GPU: train.sh RUN SECONDS DATA WORK OUT [CHECKPOINT]
# 1: specs, VAE, latents, start of the base. 2: base. 3: end of the base, refiner, judge, samples, figures. 4: refiner and judge for a finished base, from the folder BASE.
# 5: such a base goes on, with painted things among the others; and a judge.
# WORK keeps everything between runs on one machine; OUT gets what travels: compact checkpoints in shards of 15 MiB (state.*), images, the log.
# CHECKPOINT is a folder with such shards, for a machine on which WORK is empty: it then makes specs and latents again.
set -euo pipefail
number=$1 end=$(($(date +%s) + $2)) data=$(realpath "$3") work=$4 out=$5 checkpoint=${6:-}
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR=$work/inductor PYTHONWARNINGS=ignore
schedule=${SCHEDULE_MINUTES:-14} vae_minutes=${VAE_MINUTES:-3.7} count=${SCENES:-300000}
mkdir -p "$work" "$out"
left() { python3 -c "import time; print(max(0.1, round(($end - time.time() - $1) / 60, 3)))"; }
run() { local t=$1; shift; python3 "$here/$t" --data "$data" --work "$work" "$@"; }

if [ -n "$checkpoint" ]; then python3 "$here/pack.py" --join --work "$work" --out "$checkpoint"; fi
paint=
case $number in
4) run from_folder.py --model "$BASE" ;;
5)
  run from_folder.py --model "$BASE" --keep
  paint=--paint
  # Scenes of another run have no painted things.
  if [ ! -e "$work/painted" ]; then rm -f "$work/specs.npz" "$work/latents.pt"; fi
  ;;
esac
if [ ! -e "$work/specs.npz" ]; then run make_specs.py --count "$count" $paint; fi
if [ -n "$paint" ]; then touch "$work/painted"; fi
if [ "$number" = 1 ]; then
  run train_vae.py --minutes "$vae_minutes"
  cp "$work/vae.png" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" vae_final
fi
if [ "$number" -ge 4 ]; then run quality/judge.py --minutes "${JUDGE_MINUTES:-2}" & fi # beside what follows, which leaves much of the card idle at first
if [ ! -e "$work/latents.pt" ]; then run encode_latents.py; fi
case $number in
1 | 2)
  run train_base.py --minutes "$(left 14)" --schedule-minutes "$schedule"
  cp "$work/base.png" "$work/log.txt" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" vae_final base
  ;;
3)
  run train_base.py --minutes "${BASE_MINUTES:-$(left 310)}" --schedule-minutes "$schedule" --finish
  cp "$work/base.png" "$work/log.txt" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" --averaged vae_final base
  run train_refiner.py --minutes "${REFINER_MINUTES:-$(left 175)}"
  cp "$work/refiner.png" "$work/log.txt" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" --averaged vae_final base refiner
  run quality/judge.py --minutes "${JUDGE_MINUTES:-$(left 110)}"
  cp "$work/judge.pt" "$work/log.txt" "$out/"
  prompts=$here/quality/prompts.json limit="--limit ${LIMIT:-400}"
  run quality/sample.py $limit --prompts "$prompts" --out "$work/guided"
  run quality/sample.py $limit --prompts "$prompts" --out "$work/refined" --refine
  run quality/sample.py $limit --prompts "$prompts" --out "$work/unguided" --guidance 1
  run quality/sample.py $limit --prompts "$prompts" --out "$work/not-white" --negative "on a white background"
  python3 "$here/quality/score.py" --data "$data" --judge "$work/judge.pt" --prompts "$prompts" --clean "$work"/{guided,refined,unguided,not-white} | tee -a "$work/log.txt"
  cp "$work/log.txt" "$out/"
  ;;
4)
  run train_refiner.py --minutes "${REFINER_MINUTES:-$(left 60)}"
  wait
  cp "$work/refiner.png" "$work/judge.pt" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" --averaged refiner
  prompts=$here/quality/prompts.json limit="--limit ${LIMIT:-400}"
  run quality/sample.py $limit --prompts "$prompts" --out "$work/guided"
  run quality/sample.py $limit --prompts "$prompts" --out "$work/refined" --refine
  python3 "$here/quality/score.py" --data "$data" --judge "$work/judge.pt" --prompts "$prompts" --clean "$work"/{guided,refined} | tee -a "$work/log.txt"
  cp "$work/log.txt" "$out/"
  ;;
5)
  # Half of the rate that trained it: what it knows is to stay.
  run train_base.py --minutes "${BASE_MINUTES:-$(left 45)}" --schedule-minutes 0 --finish --rate "${RATE:-4e-4}" --keep-encoder-2
  wait
  cp "$work/base.png" "$work/judge.pt" "$work/log.txt" "$out/"
  python3 "$here/pack.py" --work "$work" --out "$out" --averaged vae_final base
  run quality/sample.py --prompts "$here/quality/colours.json" --out "$work/colours"
  cp "$work/colours/sheet.png" "$out/colours.png"
  ;;
esac
