#!/usr/bin/env bash
# Makes the tables and pictures of docs/results/claims.md: trains teachers and all students, which takes hours, and goes on
# where it was stopped. Everything is left in outputs/evidence.
#
#   make evidence GLUE=FOLDER TEACHER=ENCODER_FOLDER SMALL=ENCODER_FOLDER TASKS=TASKS.yaml NEW=TASKS.yaml
#
# GLUE: its official TSV layout. TEACHER: an encoder of BERT-base's size (all-mpnet-base-v2). SMALL: one of six layers of 384
# (all-MiniLM-L6-v2), from whose layers Transformers start. TASKS: the same eight tasks as a task file. NEW: tasks to
# fine-tune on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
: "${GLUE:?is missing}" "${TEACHER:?is missing}" "${SMALL:?is missing}" "${TASKS:?is missing}" "${NEW:?is missing}"
export PYTHONPATH=. OMP_NUM_THREADS=1
out=outputs/evidence
tasks='[sst2, mrpc, cola, rte, stsb, mnli, qqp, qnli]'
weights='{sst2: 0.24, mrpc: 0.09, cola: 0.20, rte: 0.08, stsb: 0.13, mnli: 0.14, qqp: 0.09, qnli: 0.03}'
teacher=(--config glue --data.path "$GLUE" --data.tasks "$tasks" --teacher.checkpoint "$TEACHER" --teacher.train.steps 2000
    --teacher.train.eval_every 1000 --teacher.train.learning_rate 5e-5 --teacher.train.precision bfloat16
    --teacher.train.sampling.weights "$weights" --train.sampling.weights '{}' --threads 1)
claims() { python tests/bench/claims.py "$out/$1" "${teacher[@]}" "${@:2}"; }

bag=(--config bag --student.min_count 2)
claims bag "${bag[@]}" --seeds 0 1 2 3 4 --variants distilled "labels alone"
claims bag "${bag[@]}" --variants "one by one"
lstm=(--config bilstm --student.words false --student.embedding 128 --student.attention false --student.min_count 2)
claims bilstm "${lstm[@]}" --student.hidden 64 --train.lazy true \
    --train.learning_rate 3e-3 --train.steps 2000 --train.precision bfloat16 --pretrain.steps 3000 \
    --variants distilled "labels alone" "text first"
claims bilstm-128 "${lstm[@]}" --train.lazy true --train.learning_rate 3e-3 \
    --train.eval_every 1500 --train.precision bfloat16 --variants distilled
claims transformer --config scratch --train.lazy true --pretrain.steps 3000 --variants "labels alone" "text first"
small=(--config transformer --student.init "$SMALL" --student.dropout 0 --train.lazy true --train.steps 3000 --train.eval_every 1000
    --train.precision bfloat16)
claims transformer-3x384 "${small[@]}" --variants distilled "labels alone"
# More steps, and more of them for the five tasks of the front.
five_weights='{sst2: 0.28, mrpc: 0.10, cola: 0.12, rte: 0.07, stsb: 0.10, mnli: 0.14, qqp: 0.11, qnli: 0.08}'
claims transformer-4x384 "${small[@]}" --student.layers 4 --train.steps 8000 --train.eval_every 2000 \
    --train.sampling.weights "$five_weights" --variants distilled
claims transformer-6x384 "${small[@]}" --student.layers 6 --variants distilled
python tests/bench/refinement.py "$out/teacher" --tasks rte mrpc stsb cola "${teacher[@]}" --config bag

starts=()
for seed in 0 1 2; do starts+=("bag=$out/bag/distilled-$seed"); done
python tests/bench/finetuning.py outputs/finetuning "$NEW" --rows 200 1000 --start "${starts[@]}" --config bag \
    --student.init "$TEACHER" --threads 1

five=sst2,mrpc,cola,rte,stsb  # their training sets are complete; the others of GLUE_FOLDER may not be
exported=()
# Exports STUDENT VARIANT-SEED as outputs/exported/STUDENT-SEED. BACKEND is timed and scored by rivals.py as NAME.
# Other arguments are settings of the export.
export_model() {
    local to="outputs/exported/$1-${2##*-}"
    [ -d "$to" ] || python -m experiments.export --export.student "$out/$1/$2" --export.to "$to" --data.source glue \
        --data.path "$GLUE" --speed.seconds 2 "${@:5}"
    exported+=("$4=$to/$3")
}
export_model bag teacher onnx teacher --data.tasks '[rte]' --export.backends '[onnx]'
for seed in 0 1 2; do
    export_model bag "distilled-$seed" int8 bag --data.tasks "[$five]"
    export_model bilstm-128 "distilled-$seed" int8 "bilstm 128" --data.tasks "[$five]"
    export_model transformer "text first-$seed" int8 "transformer 2x128" --data.tasks "[$five]"
    for size in 3x384 4x384 6x384; do
        export_model "transformer-$size" "distilled-$seed" int8 "transformer $size" --data.tasks "[$five]"
    done
done
python tests/bench/rivals.py "$TASKS" --only ${five//,/ } --teacher "$TEACHER" --bert-base --student "${exported[@]}" --texts 40 --rounds 2
python tests/bench/evidence.py "$out" --page docs/results/claims.md --rivals outputs/rivals/rivals.json \
    --finetuning outputs/finetuning/finetuning.md
