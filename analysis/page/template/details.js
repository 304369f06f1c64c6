// What a row shows when it is open.

function plainTable(head, rows, classes = "") {
  const cells = (row) => row.map((text, index) => element(index ? "td" : "th", index ? {} : { scope: "row" }, text));
  return element(
    "table",
    { class: `plain ${classes}` },
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))),
  );
}

/** Scores by task beside the teacher's and the twin's. */
function scoresOf(model) {
  const twin = baselineOf.get(model.id);
  const row = (task) => [
    taskName(task),
    number(scoreOf(model, task)),
    number(teacherScore(model, task)),
    number(less(scoreOf(model, task), teacherScore(model, task))),
    ...(twin ? [number(task ? twin.scores[task] : twin.mean)] : []),
  ];
  return plainTable(
    ["score on dev", "student", "teacher", "difference", ...(twin ? ["labels alone"] : [])],
    ["", ...data.tasks].map(row),
  );
}

const settingsTable = (pairs) =>
  plainTable(
    ["setting", ""],
    pairs.map(([name, text]) => [name, text === "" ? UNKNOWN : text]),
    "settings",
  );

function runList(model) {
  const runs = model.runs.map((run) => {
    const told = listed([run.seed === null ? "" : `seed ${run.seed}`, run.mean === null ? "" : `${number(run.mean)} points`]);
    return element("li", {}, link(run.name || run.id, run.link), ` ${told} `, element("code", {}, run.id));
  });
  return element("ul", { class: "runs" }, ...runs);
}

function detailsOf(model) {
  const shared = Object.entries(data.settings.shared);
  const where = [
    ["teacher", model.teacher],
    ["timed in", listed([model.backend, settingWords(model.setting)])],
    ["machine", model.machine],
    ["study", model.study],
    ["state", model.state],
    ["rows a second", number(model.rows_per_s, 0)],
    ["bytes", bytes(model.num_bytes)],
    ["parameters", large(model.parameters)],
  ].filter(([, text]) => text && text !== UNKNOWN);
  const own = settingsOf(model);
  return element(
    "div",
    { class: "columns" },
    element("div", {}, scoresOf(model), element("h3", {}, plural(model.runs.length, "run")), runList(model)),
    element("div", {}, plainTable(["what", ""], where, "settings")),
    element(
      "div",
      {},
      ...(own.length ? [settingsTable(own)] : []),
      ...(shared.length
        ? [
            element(
              "details",
              {},
              element("summary", {}, `${plural(shared.length, "setting")} that all students share`),
              settingsTable(shared),
            ),
          ]
        : []),
    ),
  );
}
