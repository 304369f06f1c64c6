// Two students side by side: scores with their differences, speed, and the settings in which they differ.

function choosePair(id, isOn) {
  state.pair = state.pair.filter((one) => one !== id);
  if (isOn) state.pair = [...state.pair, id].slice(-2);
}

function judged(difference) {
  if (difference.gap === null) return UNKNOWN;
  const figure = `${difference.gap > 0 ? "+" : ""}${number(difference.gap)}`;
  if (!isKnown(difference)) return element("span", {}, figure, element("span", { class: "words" }, "interval not known"));
  return element("span", {}, `${figure} (${rangeText(difference)})`, element("span", { class: "words" }, borneOut(difference)));
}

function pairScores(one, other) {
  const row = (task) => [
    taskName(task),
    number(scoreOf(one, task)),
    number(scoreOf(other, task)),
    judged(between(one, other, task)),
  ];
  return plainTable(["score on dev", one.name, other.name, "first minus second, 95\u00a0%"], ["", ...data.tasks].map(row));
}

function pairNumbers(one, other) {
  const ratio = (a, b) => (a && b ? `${brief(a / b)} ×` : UNKNOWN);
  const row = (name, text, field) => [name, text(field(one)), text(field(other)), ratio(field(one), field(other))];
  return plainTable(
    ["speed and size", one.name, other.name, "first by second"],
    [
      row("milliseconds a call", brief, (model) => model.latency_ms),
      row(
        "rows a second",
        (value) => number(value, 0),
        (model) => model.rows_per_s,
      ),
      row("bytes", bytes, (model) => model.num_bytes),
      row("parameters", large, (model) => model.parameters),
    ],
  );
}

function pairSettings(one, other) {
  const second = new Map(settingsOf(other));
  const more = [
    ["machine", one.machine, other.machine],
    ["timed in", `${one.backend} ${one.setting}`, `${other.backend} ${other.setting}`],
    ["teacher", one.teacher, other.teacher],
    ["study", one.study, other.study],
  ];
  const rows = [...settingsOf(one).map(([name, text]) => [name, text, second.get(name)]), ...more].filter(([, a, b]) => a !== b);
  if (rows.length === 0) return element("p", {}, "No setting differs between them.");
  return plainTable(
    ["settings that differ", one.name, other.name],
    rows.map((row) => row.map((text) => (text.trim() === "" ? UNKNOWN : text))),
    "settings",
  );
}

function drawPair() {
  const box = byId("pair");
  const [one, other] = state.pair.map((id) => modelById.get(id));
  box.hidden = !one;
  if (!one) return;
  const clear = element("button", { id: "clear" }, "Clear");
  if (!other) {
    box.replaceChildren(
      element("p", {}, "Tick a second student to see it beside ", element("strong", {}, one.name), ". ", clear),
    );
    return;
  }
  const machinesDiffer = one.machine !== other.machine;
  box.replaceChildren(
    element("h2", {}, "Side by side ", clear),
    ...(machinesDiffer
      ? [element("p", {}, "They were timed on different machines: their times are no measure of each other.")]
      : []),
    element(
      "div",
      { class: "columns" },
      element("div", {}, pairScores(one, other)),
      element("div", {}, pairNumbers(one, other), pairSettings(one, other)),
    ),
  );
}
