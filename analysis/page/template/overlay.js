// What moves over the picture with the budget: its line, the best model's ring, the names.

const FONT = "12px system-ui, sans-serif";

function drawBudget(best) {
  if (!plot.isDrawn) return;
  const area = byId("budget-area");
  area.replaceChildren();
  if (state.axis === "latency_ms") area.append(...budgetLine());
  const chosenPoint = plot.shown.find(({ role, model }) => role === "student" && model === best);
  byId("names").replaceChildren(...names(chosenPoint));
  if (chosenPoint) {
    const ring = { class: "ring", cx: chosenPoint.x, cy: chosenPoint.y, r: chosenPoint.r + 5 };
    byId("names").prepend(drawn("circle", ring));
  }
}

function budgetLine() {
  const { x, y, width, height } = plot.frame;
  const place = plot.toX(state.budget);
  const at = Math.max(place, x);
  const rest = x + width - at;
  if (rest <= 0 || height <= 0) return []; // too small a window has no room for the plot
  const isRight = rest > 70;
  const anchor = { x: at + (isRight ? 5 : -5), y: y + height - 7, "text-anchor": isRight ? "start" : "end" };
  const line = place < x ? [] : [drawn("path", { class: "limit", d: `M${at} ${y}V${y + height}` })];
  return [
    drawn("rect", { class: "over", x: at, y, width: rest, height }),
    ...line,
    drawn("text", { class: "over-name", ...anchor }, `${place < x ? "← " : ""}${state.budget}\u00a0ms`),
  ];
}

/** Names of the best, the teachers and the front, the higher first. */
function names(best) {
  const front = plot.shown.filter((point) => point.isFront && point !== best);
  const teacherPoints = plot.shown.filter(({ role }) => role === "teacher");
  const most = isNarrow() ? 20 : 26;
  const wanted = [...(best ? [best] : []), ...teacherPoints, ...front.sort((a, b) => a.y - b.y)];
  const labels = wanted.map((point) => {
    const text = squeezed(point.role === "teacher" ? `teacher ${point.one.name}` : point.one.name, most);
    const isBest = point === best;
    const isNeeded = isBest || point.role === "teacher";
    return {
      ...point,
      r: point.r + (isBest ? 5 : 0),
      text,
      isBest,
      isNeeded,
      width: widthOf(text, isBest ? `bold ${FONT}` : FONT) + 2,
      height: 15,
    };
  });
  const solid = plot.shown.filter((point) => point.role !== "student" || point.isFront).map(boxAround);
  const pale = plot.shown.filter((point) => point.role === "student" && !point.isFront).map(boxAround);
  const found = placed(labels, [...solid, ...budgetBoxes()], [...pale, ...stepBoxes()], thinBoxes(), plot.frame, AXES[state.axis].isSmallerBetter);
  // A name that has to lie over a line or a mark has a plate below it, so that nothing strikes it through.
  const number = plot.shown.filter(({ role }) => role !== "baseline").length;
  const place = { x: plot.frame.x + plot.frame.width, y: 14, "text-anchor": "end" };
  const told = found.length < number ? [drawn("text", { class: "told", ...place }, `named: ${found.length} of ${number}`)] : [];
  const texts = found.flatMap(({ text, box, isBest, isOver }) => [
    ...(isOver ? [drawn("rect", { class: "plate", ...box, rx: 2 })] : []),
    drawn("text", { class: isBest ? "name best" : "name", x: box.x, y: box.y + 11.5 }, text),
  ]);
  return [...told, ...texts];
}

/** The budget's line as a box. */
function budgetBoxes() {
  const { x, y, width, height } = plot.frame;
  const place = plot.toX(state.budget);
  if (state.axis !== "latency_ms" || place < x || place > x + width) return [];
  return [{ x: place - 2, y, width: 4, height }];
}

/** The teachers' scores and the intervals as boxes. */
function thinBoxes() {
  const { x, width } = plot.frame;
  const levels = plot.shown.filter(({ role }) => role === "teacher").map((teacher) => ({ x, y: teacher.y - 1, width, height: 2 }));
  const spans = withRange().flatMap((point) => {
    const span = spanOf(point);
    return span ? [{ x: point.x - 1, y: span.top, width: 2, height: span.foot - span.top }] : [];
  });
  return [...levels, ...spans];
}

/** The front's line as boxes that names keep off where they can. */
function stepBoxes() {
  const front = plot.shown.filter(({ isFront }) => isFront).sort((a, b) => a.choice - b.choice);
  return front.slice(1).flatMap((next, index) => {
    const last = front[index];
    const [x, y] = [Math.min(last.x, next.x), Math.min(last.y, next.y)];
    return [
      { x, y: last.y - 1, width: Math.abs(next.x - last.x), height: 2 },
      { x: next.x - 1, y, width: 2, height: Math.abs(next.y - last.y) },
    ];
  });
}
