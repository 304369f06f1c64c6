// Scales, ticks and marks.

function logScale(low, high, from, to) {
  const slope = (to - from) / (Math.log(high) - Math.log(low));
  return (value) => from + (Math.log(value) - Math.log(low)) * slope;
}

const linearScale = (low, high, from, to) => (value) => from + ((value - low) * (to - from)) / (high - low);

function linearTicks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, index) =>
    Number(((first + index) * step).toPrecision(12)),
  );
}

/** Round values, as many as fit; of a range too short for them, evenly spaced ones. */
function logTicks(low, high, most) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) powers.push(10 ** power);
  for (const factors of [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const ticks = powers.flatMap((power) => factors.map((factor) => Number((factor * power).toPrecision(12))));
    const within = ticks.filter((tick) => tick >= low && tick <= high);
    if (within.length <= most && within.length >= 3) return within;
  }
  return high / low < 20 ? linearTicks(low, high, most) : powers.filter((power) => power >= low && power <= high);
}

/** The range of values with some room around; one value alone gets as much as it can take. */
function logRange(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high > low ? (high / low) ** 0.08 : 1.6;
  return [low / room, high * room];
}

function linearRange(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high > low ? (high - low) * 0.09 : 1;
  return [low - room, high + room];
}

/** A mark: the outline of its kind or role (analysis/presentation/palette.py), with the area of a circle of this radius. */
const mark = (kind, radius, classes = "", x = 0, y = 0, more = {}) =>
  drawn("path", {
    d: data.outlines[kind],
    class: `mark ${kind} ${classes}`.trim(),
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${radius.toFixed(2)})`,
    ...more,
  });

/** A mark as a small picture of its own, for the legend and the table. */
const icon = (kind, classes = "") =>
  drawn(
    "svg",
    { class: "icon", viewBox: "-8 -8 16 16", "aria-hidden": "true" },
    mark(kind, kind === "baseline" ? 4 : 5, classes),
  );
