// What the report holds, as analysis/page/page.py packed it.

const data = JSON.parse(byId("data").textContent);

const records = (table) =>
  (table.rows ?? []).map((row) => Object.fromEntries(table.fields.map((field, index) => [field, row[index]])));

const models = records(data.models);
for (const model of models) model.runs = records(model.runs);
const teachers = records(data.teachers);
const baselines = records(data.baselines);
const modelById = new Map(models.map((model) => [model.id, model]));
const baselineOf = new Map(baselines.map((baseline) => [baseline.model, baseline]));

const rowPlace = new Map(data.deviations.ids.map((id, index) => [id, index]));

/** The deviation of a score, or of the difference of two, over resampled dev rows, in points; null where it is not known. */
function rowsOf(task, one, other = null) {
  const places = [one, ...(other ? [other] : [])].map(({ id }) => rowPlace.get(id));
  const known = other ? data.deviations.pairs[task] : data.deviations.own[task];
  if (!known || places.includes(undefined)) return null;
  if (!other) return known[places[0]] / 1000;
  const [low, high] = places.sort((a, b) => a - b);
  return low === high ? 0 : known[high][low] / 1000;
}

const kindOf = (model) => (data.kinds.includes(model.student_kind) ? model.student_kind : "other");

/** The teacher of a model, as timed on the model's machine where it was. */
function teacherOf(model) {
  const named = teachers.filter((teacher) => teacher.name === model.teacher);
  return named.find((teacher) => teacher.machine === model.machine) ?? named[0] ?? null;
}

const teacherMs = (model) => model.teacher_latency_ms;
const speedup = (model) => (teacherMs(model) && model.latency_ms ? teacherMs(model) / model.latency_ms : null);

/** Dotted names and texts of the settings in which models of the report differ. "" where a model has none. */
function settingsOf(model) {
  const { names, texts } = data.settings;
  return names.map((name, index) => [name, texts[index][model.settings[index]] ?? ""]);
}

/** The values that a field takes, the most frequent first. */
function valuesOf(field) {
  const counts = new Map();
  for (const model of models) for (const value of [field(model)].flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
}

const machines = valuesOf((model) => model.machine);
const machineName = (machine) => machine || "a machine that is not named";
