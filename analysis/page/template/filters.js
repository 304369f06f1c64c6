// The choices over the picture; one without alternatives is not shown.

function select(name, label, options, value) {
  const field = element("select", { name }, ...options.map(([key, text]) => element("option", { value: key }, text)));
  field.value = value;
  const made = element("label", {}, element("span", {}, label), field);
  made.hidden = options.filter(([key, text]) => key !== "" || text !== "all").length < 2;
  return made;
}

const anyOr = (values) => [
  ["", "all"],
  ...values.filter((value) => value !== "").map((value) => [String(value), shortened(String(value), 40)]),
];

function buildFilters(changed) {
  const kinds = data.kinds.filter((kind) => models.some((model) => kindOf(model) === kind));
  const axes = Object.entries(AXES).filter(([key]) => models.some((model) => isPositive(model[key])));
  if (!axes.some(([key]) => key === state.axis)) state.axis = axes[0]?.[0] ?? state.axis;
  const seeds = valuesOf((model) => model.seeds).sort((a, b) => a - b);
  byId("choices").append(
    select("task", "Score", [["", "mean of tasks"], ...data.tasks.map((task) => [task, task])], state.task),
    select(
      "axis",
      "Against",
      axes.map(([key, axis]) => [key, axis.label]),
      state.axis,
    ),
    select("kind", "Kind", anyOr(kinds), state.kind),
    select("seed", "Seed", anyOr(seeds), state.seed),
    select("study", "Study", anyOr(valuesOf((model) => model.study)), state.study),
    select(
      "machine",
      "Machine",
      machines.map((machine) => [machine, shortened(machineName(machine), 40)]),
      state.machine,
    ),
  );
  byId("choices").addEventListener("change", (event) => {
    state[event.target.name] = event.target.value;
    state.page = 0;
    changed();
  });
  // Open where there is room for it; on a phone the picture comes first.
  byId("filters").open = window.matchMedia("(min-width: 48rem)").matches;
}

/** What the picture shows and what it does not. */
function drawLegend() {
  const kinds = data.kinds.filter((kind) => plot.shown.some((point) => kindOfPoint(point) === kind));
  const roles = [
    ["teacher", "teacher"],
    ["baseline", "labels alone"],
  ].filter(([role]) => plot.shown.some((point) => point.role === role));
  const largerSaysBytes = plot.shown.some((point) => point.role === "student" && point.one.num_bytes) ? " · larger: more bytes" : "";
  byId("legend").replaceChildren(
    ...[...kinds.map((kind) => [kind, kind]), ...roles].map(([kind, text]) => element("span", {}, icon(kind), text)),
    element("span", { class: "muted" }, `line: chosen by the selection split for its cost, drawn at its score on dev · pale: not chosen${largerSaysBytes}`),
  );
  byId("drawn").replaceChildren(...sentences().flatMap((sentence) => [sentence, " "]));
}

function sentences() {
  const told = [state.axis === "latency_ms" && data.latency ? `Timed: ${data.latency}.` : "", ...machineSentence()];
  if (plot.missing)
    told.push(`${plural(plot.missing, "student")} without ${AXES[state.axis].label} or score: in the table only.`);
  if (!plot.hidden && !state.isWhole) return told;
  const button = element("button", { id: "whole" }, state.isWhole ? "leave those far below out" : "draw them too");
  const count = plot.hidden
    ? `${plural(plot.hidden, "student")} far below the front ${plot.hidden === 1 ? "is" : "are"} not drawn: `
    : "All students are drawn: ";
  return [...told, count, button];
}

function machineSentence() {
  if (machines.length < 2) return state.machine ? [`Machine: ${state.machine}.`] : [];
  const others = machines.filter((machine) => machine !== state.machine);
  const counts = others.map(
    (other) => `${machineName(other)} (${number(models.filter(({ machine }) => machine === other).length, 0)})`,
  );
  return [
    `All times are of one machine, ${machineName(state.machine)}. Students timed on others are not on this axis: ${counts.join(", ")}.`,
  ];
}
