// All students in a table that sorts, a page at a time.

const PAGE = 50;

const COLUMNS = [
  { key: "name", label: "student", of: ({ name }) => name, text: (value) => value },
  {
    key: "score",
    label: () => taskName(),
    of: (model) => scoreOf(model),
    text: (value) => number(value),
    hint: "score on dev, points",
  },
  {
    key: "choice",
    label: "selection",
    of: (model) => choiceOf(model),
    text: (value) => number(value),
    hint: "score on the selection split, by which one of many is chosen",
    isExtra: true,
  },
  {
    key: "range",
    label: "95 %",
    of: (model) => rangeOf(model).low,
    text: (_, model) => rangeText(rangeOf(model)),
    isExtra: true,
  },
  {
    key: "loss",
    label: "loses",
    of: (model) => lossOf(model).gap,
    text: (value) => number(value),
    hint: "points below its teacher",
  },
  {
    key: "kept",
    label: "keeps %",
    of: (model) => (state.task ? null : model.retention),
    text: (value) => number(value),
    hint: "of the teacher's score",
    isExtra: true,
  },
  { key: "latency_ms", label: "ms", of: (model) => model.latency_ms, text: brief, isUp: true, hint: "milliseconds a call" },
  {
    key: "speedup",
    label: "× faster",
    of: speedup,
    text: (value, { busy }) => ratioText(value, busy),
    hint: "than its teacher; about: timed on a busy machine",
  },
  { key: "rows_per_s", label: "rows/s", of: (model) => model.rows_per_s, text: (value) => number(value, 0), isExtra: true },
  {
    key: "num_bytes",
    label: "MB",
    of: (model) => less(model.num_bytes, 0),
    text: (value) => brief(value === null ? null : value / 1e6),
    isUp: true,
    isExtra: true,
  },
  { key: "seeds", label: "seeds", of: (model) => model.seeds.length, text: (value) => number(value, 0), isExtra: true },
  ...data.tasks.map((task) => ({
    key: `task ${task}`,
    label: task,
    of: (model) => scoreOf(model, task),
    text: (value) => number(value),
    isExtra: true,
  })),
];

const labelOf = ({ label }) => (typeof label === "function" ? label() : label);
const isText = (key) => key === "name";

/** Sorted by one column, what is unknown always last. */
function sorted(all) {
  const column = COLUMNS.find(({ key }) => key === state.sort.column);
  const sign = state.sort.isDown ? -1 : 1;
  const compare = isText(column.key) ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
  const keyed = all.map((model) => [column.of(model), model]);
  const isMissing = (value) => value === null || value === "";
  keyed.sort(([a], [b]) => isMissing(a) - isMissing(b) || (isMissing(a) ? 0 : sign * compare(a, b)));
  return keyed.map(([, model]) => model);
}

function heading(column) {
  const isSorted = state.sort.column === column.key;
  const sort = isSorted ? (state.sort.isDown ? "descending" : "ascending") : "none";
  const classes = `${isText(column.key) ? "text" : ""}${column.isExtra ? " extra" : ""}`;
  return element(
    "th",
    { scope: "col", "aria-sort": sort, class: classes },
    element("button", { "data-sort": column.key, title: column.hint ?? null }, labelOf(column)),
  );
}

function cell(column, model) {
  const classes = `${isText(column.key) ? "text" : ""}${column.isExtra ? " extra" : ""}`;
  return element("td", { class: classes }, column.text(column.of(model), model));
}

function rowOf(model, front) {
  const isOpen = state.opened.has(model.id);
  const tick = element("input", { type: "checkbox", "data-pair": model.id, "aria-label": `Compare ${model.name}` });
  tick.checked = state.pair.includes(model.id);
  const name = element(
    "th",
    { scope: "row", class: "text" },
    element(
      "button",
      { class: "name", "data-row": model.id, "aria-expanded": isOpen },
      icon(kindOf(model), front.has(model) ? "" : "pale"),
      model.name,
    ),
  );
  const row = element(
    "tr",
    { "data-model": model.id, class: isOpen ? "open" : null },
    element("td", { class: "tick" }, tick),
    name,
    ...COLUMNS.slice(1).map((column) => cell(column, model)),
  );
  if (!isOpen) return [row];
  return [row, element("tr", { class: "details" }, element("td", { colspan: COLUMNS.length + 1 }, detailsOf(model)))];
}

let order = [];

function drawTable() {
  order = sorted(chosen());
  const front = new Set(plot.front.map(({ model }) => model));
  const first = Math.min(state.page, Math.max(0, Math.ceil(order.length / PAGE) - 1)) * PAGE;
  byId("table").tHead.replaceChildren(element("tr", {}, element("td", { class: "tick" }), ...COLUMNS.map(heading)));
  byId("table").tBodies[0].replaceChildren(...order.slice(first, first + PAGE).flatMap((model) => rowOf(model, front)));
  drawPaging(first);
}

/** Why these are not all students of the report, in brackets; "" where they are. */
function leftOutWords() {
  const away = models.filter(({ machine }) => machine !== state.machine).length;
  const filtered = models.length - away - order.length;
  const reasons = [
    filtered && `${number(filtered, 0)} left out by the filters`,
    away && `${number(away, 0)} timed on other machines`,
  ];
  const told = listed(reasons);
  return told && ` (of ${number(models.length, 0)} in all: ${told})`;
}

function drawPaging(first) {
  const last = Math.min(first + PAGE, order.length);
  const step = (by, text, isOff) => {
    const button = element("button", { "data-page": state.page + by }, text);
    button.disabled = isOff;
    return button;
  };
  const told = order.length
    ? `${number(first + 1, 0)}–${number(last, 0)} of ${plural(order.length, "student")}${leftOutWords()}`
    : `No student is left by the filters${leftOutWords()}.`;
  const turns = order.length > PAGE ? [" ", step(-1, "Previous", first === 0), " ", step(1, "Next", last === order.length)] : [];
  byId("paging").replaceChildren(told, ...turns);
}

/** Opens a model's row, on whichever page it is, and goes there. */
function openRow(id) {
  state.opened.add(id);
  state.page = Math.floor(
    Math.max(
      0,
      order.findIndex((model) => model.id === id),
    ) / PAGE,
  );
  drawTable();
  const button = [...document.querySelectorAll("[data-row]")].find((one) => one.dataset.row === id);
  button?.focus({ preventScroll: true });
  button?.closest("tr").scrollIntoView({ block: "start" });
}
