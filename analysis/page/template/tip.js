// What is under the pointer, or under the arrow keys, named beside its mark.

const REACH = 24; // pixels
const SOME = 6; // settings shown; all are in the model's row
let hot = null;

function nearest(x, y) {
  const far = (point) => Math.hypot(point.x - x, point.y - y) - (point.isFront ? 3 : 0);
  let found = null;
  for (const point of plot.shown) if (far(point) < (found ? far(found) : REACH)) found = point;
  return found;
}

function heat(point) {
  if (point === hot) return;
  hot = point;
  byId("tip")?.remove();
  byId("hot")?.replaceChildren();
  if (!point) return;
  byId("hot").append(
    ...(point.role === "student" ? range(point) : []),
    drawn("circle", { class: "halo", cx: point.x, cy: point.y, r: point.r + 3 }),
  );
  const tip = element("div", { id: "tip", role: "status" }, ...described(point));
  byId("chart").append(tip);
  place(tip, point);
}

/** Beside the point, on the side and at the height where the front is not. */
function place(tip, point) {
  const { width, height } = plot;
  const [right, left] = [point.x + point.r + 12, point.x - point.r - 12 - tip.offsetWidth];
  const isRight = right + tip.offsetWidth <= width;
  const isBelow = isRight === AXES[state.axis].isSmallerBetter || left < 0;
  const top = isBelow ? point.y : point.y - tip.offsetHeight;
  tip.style.left = `${isRight ? right : Math.max(0, left)}px`;
  tip.style.top = `${left < 0 && !isRight ? point.y + point.r + 12 : Math.max(0, Math.min(top, height - tip.offsetHeight))}px`;
}

const rangeText = ({ low, high }) => (low === null ? "" : `${number(low)} to ${number(high)}`);

function described(point) {
  const title = element("strong", {}, point.one.name);
  const speed = [
    milliseconds(point.one.latency_ms),
    point.one.rows_per_s === null ? "" : `${large(point.one.rows_per_s)} rows/s`,
    bytes(point.one.num_bytes),
  ];
  const numbers = element("span", {}, speed.filter((text) => text && text !== UNKNOWN).join(" · "));
  if (point.role === "teacher") return [title, element("span", {}, `teacher · ${number(point.score)} ${taskName()}`), numbers];
  if (point.role === "baseline")
    return [
      title,
      element(
        "span",
        {},
        `${number(point.score)} ${taskName()} · twin of ${point.model.name}, which scores ${number(scoreOf(point.model))}`,
      ),
    ];
  const { model } = point;
  const loss = lossOf(model);
  const tasks = data.tasks
    .filter((task) => scoreOf(model, task) !== null)
    .map((task) => `${task} ${number(scoreOf(model, task))}`);
  const settings = settingsOf(model).filter(([, text]) => text !== "");
  return [
    title,
    element("span", { class: "muted" }, listed([model.student_kind, model.backend, plural(model.seeds.length, "seed")], " · ")),
    element(
      "span",
      {},
      listed([`${number(point.score)} points`, rangeText(rangeOf(model)), loss.gap === null ? "" : lossText(loss)]),
    ),
    numbers,
    ...(tasks.length ? [element("span", { class: "muted" }, tasks.join(" · "))] : []),
    element(
      "code",
      {},
      settings
        .slice(0, SOME)
        .map(([name, text]) => `${name} ${shortened(text, 30)}`)
        .join(", "),
    ),
    ...(settings.length > SOME
      ? [element("span", { class: "muted" }, `and ${plural(settings.length - SOME, "setting")} more in its row`)]
      : []),
  ];
}

const lossText = ({ gap }) =>
  number(Math.abs(gap)) === "0.0"
    ? "the teacher's score"
    : `${inPoints(Math.abs(gap))} ${gap > 0 ? "below" : "above"} its teacher`;

/** The next point in a direction: sideways along the front, up and down among all students by score. */
function neighbour(key) {
  const isSideways = key === "ArrowLeft" || key === "ArrowRight";
  const students = plot.shown.filter(({ role, isFront }) => role === "student" && (isFront || !isSideways));
  const order = students.sort((a, b) => (isSideways ? a.x - b.x : a.y - b.y));
  const at = order.indexOf(hot) + (key === "ArrowLeft" || key === "ArrowUp" ? -1 : 1);
  return order.includes(hot) ? order[Math.min(Math.max(at, 0), order.length - 1)] : order[0];
}

function listenToChart(open) {
  const box = byId("chart");
  let touched = null;
  const under = (event) => {
    const { left, top } = box.getBoundingClientRect();
    return nearest(event.clientX - left, event.clientY - top);
  };
  box.addEventListener("pointermove", (event) => heat(under(event)));
  box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && heat(null));
  box.addEventListener("click", (event) => {
    const point = under(event);
    heat(point);
    // A finger cannot hover: its first touch names the model, the second opens the row.
    const isFirst = event.pointerType === "touch" && point !== touched;
    touched = point;
    if (point?.model && !isFirst) open(point.model.id);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key.startsWith("Arrow") && plot.shown.length) heat(neighbour(event.key));
    else if (event.key === "Enter" && hot?.model) open(hot.model.id);
    else if (event.key === "Escape") heat(null);
    else return;
    event.preventDefault(); // no scrolling, and no Enter for the row that has got the focus
  });
  box.addEventListener("blur", () => heat(null));
}
