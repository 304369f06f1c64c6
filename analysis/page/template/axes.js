// Scales, ticks and the marks' outlines.

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

function polygon(radius, corners, inner = 1, turn = -90) {
  const count = inner === 1 ? corners : corners * 2;
  const places = Array.from({ length: count }, (_, index) => {
    const angle = ((turn + (index * 360) / count) * Math.PI) / 180;
    const reach = radius * (index % 2 ? inner : 1);
    return `${(reach * Math.cos(angle)).toFixed(2)} ${(reach * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${places.join("L")}Z`;
}

/** Outlines of about the same area, around 0; the same as in the static pictures (analysis/presentation/figure.py). */
const SHAPES = {
  transformer: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  bilstm: (r) => polygon(r * 1.25, 4, 1, 45),
  bag: (r) => polygon(r * 1.45, 3),
  other: (r) => polygon(r * 1.25, 4),
  teacher: (r) => polygon(r * 1.5, 5, 0.45),
  baseline: (r) => `M0 ${-r * 1.4}L${r * 0.9} 0L0 ${r * 1.4}L${-r * 0.9} 0Z`,
};

/** A mark as a small picture of its own, for the legend and the table. */
const icon = (kind, classes = "") =>
  drawn(
    "svg",
    { class: "icon", viewBox: "-8 -8 16 16", "aria-hidden": "true" },
    drawn("path", { d: SHAPES[kind](kind === "baseline" ? 4 : 5), class: `mark ${kind} ${classes}` }),
  );
