// Differences and their paired intervals, and the front. No drawing, no state.

/** Half the width of the 95 % t interval of a mean over seeds; null for one seed, which tells no spread. */
function halfWidth(values) {
  const count = values.length;
  if (count < 2) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return data.quantiles.seeds[count - 2] * Math.sqrt(squares / (count - 1) / count);
}

/** The squared half width over seeds of the difference of two scores, by seed: paired where both have the same seeds. */
function squaredOfSeeds(one, other) {
  if (Math.min(one.size, other.size) < 2) return 0;
  const isPaired = one.size === other.size && [...one.keys()].every((seed) => other.has(seed));
  const parts = isPaired ? [[...one].map(([seed, score]) => score - other.get(seed))] : [[...one.values()], [...other.values()]];
  return parts.reduce((sum, part) => sum + halfWidth(part) ** 2, 0);
}

/** `gap` points lie between two scores by seed; `rows`: the deviation of the gap over resampled rows. As analysis/statistics/differences.py. */
function difference(gap, one, other, rows) {
  if (gap === null || rows === null) return { gap, low: null, high: null };
  const half = Math.sqrt((data.quantiles.rows * rows) ** 2 + squaredOfSeeds(one, other));
  return { gap, low: gap - half, high: gap + half };
}

const isKnown = (difference) => difference.low !== null;
/** A difference is called one only when its interval leaves nothing out on one side. */
const isOne = (difference) => isKnown(difference) && (difference.low > 0 || difference.high < 0);

/** Of points with x and a choice (a score on selection) those that no other beats in both, from the best x on. */
function frontOf(all, isSmallerBetter) {
  const sign = isSmallerBetter ? 1 : -1;
  const front = [];
  const known = all.filter(({ choice }) => choice !== null);
  for (const point of known.sort((a, b) => sign * (a.x - b.x) || b.choice - a.choice))
    if (front.length === 0 || point.choice > front.at(-1).choice) front.push(point);
  return front;
}
