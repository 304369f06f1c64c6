// The picture of quality against speed: what is drawn once for a choice of filters and axes.

const ROOM = { left: 42, right: 12, top: 28, bottom: 42 };
const FEW = 30; // of so few points each shows its interval
const MANY = 500; // more points than these are drawn smaller and paler
const MARK = { teacher: 7, baseline: 3.5 }; // sizes of marks that tell no bytes
/** What is drawn, and where. */
const plot = { shown: [], front: [], isDrawn: false };

const isPositive = (value) => value !== null && value > 0;

/** What can be drawn: models, their teachers, the twins of those on the front; each with its values x and y. */
function collect() {
  const point = (role, model, one, y) => ({ role, model, one, x: one[state.axis], y: y ?? null, choice: null });
  const score = (one) => (state.task ? one.scores[state.task] : one.mean);
  const isDrawable = ({ x, y }) => isPositive(x) && y !== null;
  const students = chosen()
    .map((model) => ({ ...point("student", model, model, scoreOf(model)), choice: choiceOf(model) }))
    .filter(isDrawable);
  const front = frontOf(students, AXES[state.axis].isSmallerBetter);
  const taught = new Set(chosen().map((model) => model.teacher));
  const near = teachers.filter(({ machine, name }) => machine === state.machine && taught.has(name));
  const twinned = front.map(({ model }) => model).filter((model) => baselineOf.has(model.id));
  const others = [
    ...near.map((one) => point("teacher", null, one, score(one))),
    ...twinned.map((model) => point("baseline", model, baselineOf.get(model.id), score(baselineOf.get(model.id)))),
  ];
  return { students, front, others: others.filter(isDrawable) };
}

/** The students less those so far below front and marks that they would press these together. */
function notFarBelow({ students, front, others }) {
  const ys = [...front, ...others].map(({ y }) => y);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  return state.isWhole || front.length === 0 || high === low ? students : students.filter(({ y }) => y >= low - (high - low) * 0.6);
}

const isNarrow = () => plot.width < 500;

/** Areas by bytes, on a log scale as sizes span decades. */
function radii(students) {
  const [least, middle, most] = isNarrow() || students.length > MANY ? [9, 20, 42] : [16, 36, 100];
  const sizes = students.map(({ one }) => one.num_bytes).filter(isPositive);
  const [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  const scale = high > low ? logScale(low, high, least, most) : () => middle;
  return (size) => Math.sqrt(isPositive(size) && sizes.length ? scale(size) : middle);
}

function drawChart() {
  const found = collect();
  const students = notFarBelow(found);
  const box = byId("chart");
  heat(null);
  box.replaceChildren();
  [plot.width, plot.height] = [box.clientWidth, box.clientHeight];
  plot.front = found.front;
  plot.shown = [];
  plot.hidden = found.students.length - students.length;
  plot.missing = chosen().length - found.students.length;
  plot.isDrawn = students.length > 0;
  if (!plot.isDrawn) {
    box.append(element("p", { class: "empty" }, "No student to draw: the filters leave none that has both values."));
    return;
  }
  layOut(students, found);
  const classes = students.length > MANY ? "many" : null;
  const svg = drawn("svg", { class: classes, viewBox: `0 0 ${plot.width} ${plot.height}`, "aria-hidden": "true" });
  const layers = ["budget-area", "hot", "names"].map((id) => drawn("g", { id }));
  svg.append(grid(), layers[0], step(), ranges(), marks(), layers[1], layers[2]);
  box.append(svg);
}

/** Scales, and the points on them: x and y become pixels. */
function layOut(students, { front, others }) {
  const { width, height } = plot;
  plot.frame = { x: ROOM.left, y: ROOM.top, width: width - ROOM.left - ROOM.right, height: height - ROOM.top - ROOM.bottom };
  const all = [...students, ...others];
  plot.xs = logRange(all.map(({ x }) => x));
  plot.ys = linearRange(all.map(({ y }) => y)); // intervals are cut off: those of two seeds would press all else together
  plot.toX = logScale(...plot.xs, ROOM.left, width - ROOM.right);
  plot.toY = linearScale(...plot.ys, height - ROOM.bottom, ROOM.top);
  const radius = radii(students);
  const onFront = new Set(front);
  plot.shown = all.map((point) => ({
    ...point,
    score: point.y,
    x: plot.toX(point.x),
    y: plot.toY(point.y),
    r: point.role === "student" ? radius(point.one.num_bytes) : MARK[point.role],
    isFront: onFront.has(point),
  }));
}

/** Lines, numbers and titles of the axes, and each teacher's score. */
function grid() {
  const { x, y, width, height } = plot.frame;
  const [foot, end] = [y + height, x + width];
  const line = (x1, y1, x2, y2, classes = null) => drawn("line", { x1, y1, x2, y2, class: classes });
  const text = (words, x, y, anchor, classes = null) => drawn("text", { x, y, "text-anchor": anchor, class: classes }, words);
  const { label, isSmallerBetter } = AXES[state.axis];
  const columns = logTicks(...plot.xs, Math.max(3, Math.floor(width / 60)));
  const rows = linearTicks(...plot.ys, Math.max(3, Math.floor(height / 36)));
  const digits = Math.max(...rows.map((row) => (String(row).split(".")[1] ?? "").length));
  const named = (column) => (state.axis === "latency_ms" ? String(column) : compact(column));
  return drawn(
    "g",
    { class: "grid" },
    ...columns.flatMap((column) => [
      line(plot.toX(column), y, plot.toX(column), foot),
      text(named(column), plot.toX(column), foot + 16, "middle"),
    ]),
    ...rows.flatMap((row) => [
      line(x, plot.toY(row), end, plot.toY(row)),
      text(number(row, digits), x - 8, plot.toY(row) + 4, "end"),
    ]),
    ...plot.shown.filter(({ role }) => role === "teacher").map((teacher) => line(x, teacher.y, end, teacher.y, "level")),
    text(`${label} (log scale, ${isSmallerBetter ? "← better" : "better →"})`, end, foot + 35, "end", "title"),
    text(`${taskName()} score on dev, points`, 0, 14, "start", "title"),
  );
}

/** The score on dev of what is chosen, by selection, at each place of the axis. */
function step() {
  const [start, ...rest] = plot.shown.filter(({ isFront }) => isFront).sort((a, b) => a.choice - b.choice);
  if (!start) return drawn("g");
  const end = AXES[state.axis].isSmallerBetter ? plot.frame.x + plot.frame.width : plot.frame.x;
  const path = rest.map(({ x, y }) => `H${x}V${y}`).join("");
  return drawn("path", { class: "step", d: `M${start.x} ${start.y}${path}H${end}` });
}

/** A student's interval in pixels, as far as it is in the picture; null where it is not known. */
function spanOf({ model }) {
  const { low, high } = rangeOf(model);
  const { y, height } = plot.frame;
  const [foot, top] = [low, high].map((value) => Math.min(y + height, Math.max(y, plot.toY(value))));
  return low === null ? null : { foot, top };
}

function range(point) {
  const span = spanOf(point);
  return span ? [drawn("path", { class: "range", d: `M${point.x} ${span.foot}V${span.top}` })] : [];
}

/** The students whose intervals are drawn. */
function withRange() {
  const students = plot.shown.filter(({ role }) => role === "student");
  return students.filter(({ isFront }) => isFront || students.length <= FEW);
}

const ranges = () => drawn("g", {}, ...withRange().flatMap(range));

const kindOfPoint = ({ role, model }) => (role === "student" ? kindOf(model) : role);

function marks() {
  const order = [...plot.shown].sort((a, b) => a.isFront - b.isFront || b.r - a.r);
  return drawn(
    "g",
    {},
    ...order.map((point) => {
      const isStudent = point.role === "student";
      const model = { "data-mark": isStudent ? point.model.id : null };
      return mark(kindOfPoint(point), point.r, isStudent && !point.isFront ? "pale" : "", point.x, point.y, model);
    }),
  );
}
