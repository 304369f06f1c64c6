// The picture of quality against speed: what is drawn once for a choice of filters and axes.

const ROOM = { left: 42, right: 12, top: 28, bottom: 42 };
const FEW = 30; // of so few points each shows its interval
const plot = { shown: [], front: [], frame: null, toX: null, toY: null };

const isLog = (value) => value !== null && value > 0;
const axisOf = (one) => one[state.axis];

/** What can be drawn: models, their teachers, the twins of those on the front; each with its values x and y. */
function collect() {
  const at = (role, model, one, y) => ({ role, model, one, x: axisOf(one), y });
  const students = chosen().map((model) => at("student", model, model, scoreOf(model))).filter(({ x, y }) => isLog(x) && y !== null);
  const front = frontOf(students, AXES[state.axis].isSmallerBetter);
  const taught = new Set(chosen().map((model) => model.teacher));
  const score = (one) => (state.task ? one.scores[state.task] : one.mean) ?? null;
  const others = [
    ...teachers.filter((teacher) => teacher.machine === state.machine && taught.has(teacher.name)).map((one) => at("teacher", null, one, score(one))),
    ...front.filter(({ model }) => baselineOf.has(model.id)).map(({ model }) => at("baseline", model, baselineOf.get(model.id), score(baselineOf.get(model.id)))),
  ].filter(({ x, y }) => isLog(x) && y !== null);
  return { students, front, others };
}

/** Without the points so far below front and marks that they would press these together. */
function near({ students, front, others }) {
  const ys = [...front, ...others].map(({ y }) => y);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  return state.isWhole || high === low ? students : students.filter(({ y }) => y >= low - (high - low) * 0.6);
}

const isNarrow = () => plot.width < 500;

/** Areas by bytes, on a log scale as sizes span decades. */
function radii(students) {
  const [least, middle, most] = isNarrow() || students.length > 500 ? [9, 20, 42] : [16, 36, 100];
  const sizes = students.map(({ one }) => one.num_bytes).filter(isLog);
  const [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  const scale = high > low ? logScale(low, high, least, most) : () => middle;
  return (size) => Math.sqrt(isLog(size) && sizes.length ? scale(size) : middle);
}

function drawChart() {
  const found = collect();
  const students = near(found);
  const box = byId("chart");
  heat(null);
  box.replaceChildren();
  plot.shown = [];
  plot.front = found.front;
  [plot.width, plot.height] = [box.clientWidth, box.clientHeight];
  plot.hidden = found.students.length - students.length;
  plot.missing = chosen().length - found.students.length;
  if (students.length === 0) {
    box.append(element("p", { class: "empty" }, "No student to draw: the filters leave none that has both values."));
    plot.frame = null;
    return;
  }
  const { width, height } = plot;
  plot.frame = { x: ROOM.left, y: ROOM.top, width: width - ROOM.left - ROOM.right, height: height - ROOM.top - ROOM.bottom };
  const everything = [...students, ...found.others];
  const [left, right] = logRange(everything.map(({ x }) => x));
  const spread = found.front.flatMap(({ model, y }) => [y, ...Object.values(rangeOf(model))]).filter((value) => value !== null);
  const [bottom, top] = linearRange([...everything.map(({ y }) => y), ...spread]);
  plot.toX = logScale(left, right, ROOM.left, width - ROOM.right);
  plot.toY = linearScale(bottom, top, height - ROOM.bottom, ROOM.top);
  const radius = radii(students);
  const onFront = new Set(found.front);
  plot.shown = everything.map((point) => ({
    ...point, value: point.x, score: point.y, x: plot.toX(point.x), y: plot.toY(point.y),
    r: point.role === "student" ? radius(point.one.num_bytes) : point.role === "teacher" ? 7 : 3.5, isFront: onFront.has(point),
  }));
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  svg.append(grid([left, right], [bottom, top]), drawn("g", { id: "budget-area" }), step(), ranges(), marks(), drawn("g", { id: "hot" }), drawn("g", { id: "names" }));
  box.append(svg);
}

/** Lines, numbers and titles of the axes. */
function grid([left, right], [bottom, top]) {
  const { x, y, width, height } = plot.frame;
  const group = drawn("g", { class: "grid" });
  const foot = y + height;
  for (const tick of logTicks(left, right, Math.max(3, Math.floor(width / 60)))) {
    const at = plot.toX(tick);
    group.append(drawn("line", { x1: at, x2: at, y1: y, y2: foot }));
    group.append(drawn("text", { x: at, y: foot + 16, "text-anchor": "middle" }, state.axis === "latency_ms" ? String(tick) : compact(tick)));
  }
  for (const tick of linearTicks(bottom, top, Math.max(3, Math.floor(height / 36)))) {
    const at = plot.toY(tick);
    group.append(drawn("line", { x1: x, x2: x + width, y1: at, y2: at }));
    group.append(drawn("text", { x: x - 8, y: at + 4, "text-anchor": "end" }, number(tick, Number.isInteger(tick) ? 0 : 1)));
  }
  const better = AXES[state.axis].isSmallerBetter ? "← better" : "better →";
  group.append(
    drawn("text", { class: "title", x: x + width, y: foot + 35, "text-anchor": "end" }, `${AXES[state.axis].label} (log scale, ${better})`),
    drawn("text", { class: "title", x: 0, y: 14 }, `${state.task || "mean"} score on dev, points`),
  );
  for (const teacher of plot.shown.filter(({ role }) => role === "teacher"))
    group.append(drawn("line", { class: "level", x1: x, x2: x + width, y1: teacher.y, y2: teacher.y }));
  return group;
}

/** The best score that can be had at each place of the axis. */
function step() {
  const [start, ...rest] = plot.shown.filter(({ isFront }) => isFront).sort((a, b) => b.y - a.y);
  const end = AXES[state.axis].isSmallerBetter ? plot.frame.x + plot.frame.width : plot.frame.x;
  const path = rest.map(({ x, y }) => `H${x}V${y}`).join("");
  return drawn("path", { class: "step", d: `M${start.x} ${start.y}${path}H${end}` });
}

function range({ model, x }) {
  const { low, high } = rangeOf(model);
  return low === null ? [] : [drawn("path", { class: "range", d: `M${x} ${plot.toY(low)}V${plot.toY(high)}` })];
}

function ranges() {
  const students = plot.shown.filter(({ role }) => role === "student");
  return drawn("g", {}, ...students.filter(({ isFront }) => isFront || students.length <= FEW).flatMap(range));
}

const kindOfPoint = ({ role, model }) => (role === "student" ? kindOf(model) : role);

function marks() {
  const order = [...plot.shown].sort((a, b) => a.isFront - b.isFront || b.r - a.r);
  return drawn("g", {}, ...order.map((point) => {
    const classes = `mark ${kindOfPoint(point)}${point.role === "student" && !point.isFront ? " pale" : ""}`;
    const place = `translate(${point.x.toFixed(1)} ${point.y.toFixed(1)})`;
    const model = point.role === "student" ? point.model.id : null;
    return drawn("path", { d: SHAPES[kindOfPoint(point)](point.r), class: classes, transform: place, "data-mark": model });
  }));
}
