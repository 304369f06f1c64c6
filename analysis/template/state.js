// What the reader has chosen, and which models that leaves.

const AXES = {
  latency_ms: { label: "milliseconds a call", isSmallerBetter: true, text: milliseconds },
  rows_per_s: { label: "rows a second", isSmallerBetter: false, text: (value) => `${large(value)} rows/s` },
  num_bytes: { label: "bytes", isSmallerBetter: true, text: bytes },
};

const state = {
  task: "", // "": the mean
  axis: "latency_ms",
  kind: "",
  seed: "",
  machine: machines[0] ?? "",
  study: "",
  budget: 5,
  pair: [],
  opened: new Set(),
  sort: { column: "score", isDown: true },
  page: 0,
  isWhole: false, // whether points far below the front are drawn too
};

const taskName = (task = state.task) => task || "mean";
const seedChosen = () => (state.seed === "" ? null : Number(state.seed));

/** A model's score at the chosen task and seed; null where it is not known. */
function scoreOf(model, task = state.task) {
  const seed = seedChosen();
  const source = seed === null ? model : model.runs.find((run) => run.seed === seed);
  return (task ? source?.scores[task] : source?.mean) ?? null;
}

const teacherScore = (model, task = state.task) =>
  (task ? teacherOf(model)?.scores[task] : (model.teacher_mean ?? teacherOf(model)?.mean)) ?? null;

/** None for one seed: replicates are of the mean over seeds. */
function replicatesOf(one, task = state.task) {
  if (!one || seedChosen() !== null) return null;
  return task ? one.task_replicates[task] : one.replicates;
}

/** The interval of a model's own score: over all that the report's author took in for the mean, by replicates for a task. */
function rangeOf(model, task = state.task) {
  const replicates = replicatesOf(model, task);
  if (!task && replicates !== null && model.low !== null && model.high !== null) return { low: model.low, high: model.high };
  return replicates?.length ? interval(scoreOf(model, task), replicates) : { low: null, high: null };
}

const less = (a, b) => (a === null || b === null ? null : a - b);

/** One model's score less another's. */
const between = (one, other, task = state.task) =>
  paired(less(scoreOf(one, task), scoreOf(other, task)), replicatesOf(one, task), replicatesOf(other, task));

/** What a model loses to its teacher. */
function lossOf(model, task = state.task) {
  const teacher = teacherOf(model);
  const gap = less(teacherScore(model, task), scoreOf(model, task));
  const found = paired(gap, replicatesOf(teacher, task), replicatesOf(model, task));
  if (isKnown(found) || task || seedChosen() !== null || !model.lost) return found;
  return { gap, low: model.lost[1], high: model.lost[2] };
}

/** The models that the filters leave. */
function chosen() {
  const seed = seedChosen();
  return models.filter(
    (model) =>
      model.machine === state.machine &&
      (state.kind === "" || kindOf(model) === state.kind) &&
      (state.study === "" || model.study === state.study) &&
      (seed === null || model.seeds.includes(seed)),
  );
}

const timed = () => chosen().filter((model) => model.latency_ms !== null && scoreOf(model) !== null);

/** The best under the budget, of equals the faster; undefined where there is none. */
function bestUnder(budget, among) {
  const within = among.filter((model) => model.latency_ms <= budget);
  return within.sort((a, b) => scoreOf(b) - scoreOf(a) || a.latency_ms - b.latency_ms)[0];
}

const fastest = (among) => [...among].sort((a, b) => a.latency_ms - b.latency_ms)[0];

/** The fastest of those faster than `best` that the dev rows cannot tell from it; undefined where there is none. */
function alike(best, among) {
  const faster = among.filter((model) => model.latency_ms < best.latency_ms);
  return fastest(
    faster.filter((model) => {
      const difference = between(best, model);
      return isKnown(difference) && !isOne(difference);
    }),
  );
}
