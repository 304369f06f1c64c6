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
  budget: null, // milliseconds; answer.js sets the first
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

/** A model's score on the selection split, at the chosen task and seed: what it is chosen by; null where it is not known. */
function choiceOf(model, task = state.task) {
  const seed = seedChosen();
  const source = seed === null ? model : model.runs.find((run) => run.seed === seed);
  return (task ? source?.selection_scores[task] : source?.selection) ?? null;
}

/** The scores of a model's runs by seed. */
function bySeed(model, task = state.task) {
  const scores = model.runs.map((run) => [run.seed, (task ? run.scores[task] : run.mean) ?? null]);
  return new Map(scores.filter(([, score]) => score !== null));
}

/** The 95 % interval of a model's own score: over its seeds, or, of one seed, over resampled dev rows. */
function rangeOf(model, task = state.task) {
  if (seedChosen() !== null) return { low: null, high: null };
  const rows = rowsOf(task, model);
  const half = halfWidth([...bySeed(model, task).values()]) ?? (rows === null ? null : data.quantiles.rows * rows);
  const score = scoreOf(model, task);
  return half === null || score === null ? { low: null, high: null } : { low: score - half, high: score + half };
}

const less = (a, b) => (a === null || b === null ? null : a - b);

/** One model's score less another's; seeds: of the one that has fewer. */
function between(one, other, task = state.task) {
  const rows = seedChosen() === null ? rowsOf(task, one, other) : null;
  const gap = less(scoreOf(one, task), scoreOf(other, task));
  return { ...difference(gap, bySeed(one, task), bySeed(other, task), rows), seeds: Math.min(one.seeds.length, other.seeds.length) };
}

/** What a model loses to its teacher. */
function lossOf(model, task = state.task) {
  const gap = less(teacherScore(model, task), scoreOf(model, task));
  const [, low, high] = (seedChosen() === null && model.lost[task]) || [null, null, null];
  return { gap, low, high, seeds: model.seeds.length };
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

/** The best on the selection split under the budget, of equals the faster; undefined where there is none. */
function bestUnder(budget, among) {
  const within = among.filter((model) => model.latency_ms <= budget && choiceOf(model) !== null);
  return within.sort((a, b) => choiceOf(b) - choiceOf(a) || a.latency_ms - b.latency_ms)[0];
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
