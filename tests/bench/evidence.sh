#!/usr/bin/env bash
# Makes the tables and pictures of docs/results/claims.md: trains a teacher and all students, which takes hours, and goes on
# where it was stopped. Everything is left in outputs/evidence.
#
#   make evidence GLUE=FOLDER TEACHER=ENCODER_FOLDER TASKS=TASKS.yaml NEW=TASKS.yaml CORPUS='[{file: FILE, text: [COLUMN]}]'
#
# GLUE: its official TSV layout. TASKS: the same five tasks as a task file. NEW: tasks to fine-tune on. CORPUS: pretrain.corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${GLUE:?is missing}" "${TEACHER:?is missing}" "${TASKS:?is missing}" "${NEW:?is missing}" "${CORPUS:?is missing}"
export PYTHONPATH=. OMP_NUM_THREADS=1
out=outputs/evidence
teacher=(--config glue --data.path "$GLUE" --teacher.checkpoint "$TEACHER" --teacher.train.steps 1500
    --teacher.train.learning_rate 1e-4 --threads 1)
text=(--pretrain.steps 3000 --pretrain.corpus "$CORPUS")
claims() { python tests/bench/claims.py "$out/$1" "${teacher[@]}" "${@:2}"; }

bag=(--config bag --train.lazy true)
claims bag "${bag[@]}" --seeds 0 1 2 3 4 --variants distilled "labels alone"
claims bag "${bag[@]}" --variants "one by one"
claims bag "${bag[@]}" "${text[@]}" --seeds 0 --variants "text first"
claims bilstm --config bilstm --student.hidden 64 --student.attention false --student.min_count 2 --train.lazy true \
    --train.learning_rate 3e-3 --train.steps 2000 "${text[@]}" --variants distilled "labels alone" "text first" "one by one"
claims transformer --config scratch --train.steps 1500 --train.eval_every 250 --variants distilled "labels alone"
claims transformer-3x384 --config transformer --seeds 0 --variants distilled

starts=()
for seed in 0 1 2; do starts+=("bag=$out/bag/distilled-$seed"); done
python tests/bench/finetuning.py outputs/finetuning "$NEW" --rows 200 1000 --start "${starts[@]}" --config bag \
    --student.init "$TEACHER" --threads 1

# Exports NAME MODEL; each is timed and scored in the backend that is given to rivals.py.
export_model() {
    [ -d "outputs/exported/$1" ] || python -m experiments.export --export.student "$2" --export.to "outputs/exported/$1" \
        --data.source glue --data.path "$GLUE" --data.tasks '[sst2, mrpc, cola, rte, stsb]' --speed.seconds 5
}
export_model teacher "$out/bag/teacher"
exported=("teacher=outputs/exported/teacher/onnx")
for seed in 0 1 2; do
    export_model "bag-$seed" "$out/bag/distilled-$seed"
    exported+=("bag=outputs/exported/bag-$seed/int8")
done
export_model bilstm "$out/bilstm/text first-0"
export_model transformer "$out/transformer/distilled-0"
exported+=("bilstm 64=outputs/exported/bilstm/onnx" "transformer 2x128=outputs/exported/transformer/onnx")
export_model transformer-3x384 "$out/transformer-3x384/distilled-0"
exported+=("transformer 3x384=outputs/exported/transformer-3x384/onnx")
python tests/bench/rivals.py "$TASKS" --teacher "$TEACHER" --bert-base --student "${exported[@]}" --texts 60 --rounds 2
python tests/bench/evidence.py "$out" --pictures docs/results --rivals outputs/rivals/rivals.json
