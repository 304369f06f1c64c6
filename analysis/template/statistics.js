// Differences and their paired intervals, and the front. No drawing, no state.

/** As numpy's: linear between the two nearest of sorted values. */
function quantile(sorted, share) {
  const place = (sorted.length - 1) * share;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** The 95 % interval around `middle` of replicates that are given as hundredths of a point from it. */
function interval(middle, replicates) {
  const sorted = Float64Array.from(replicates).sort();
  return { low: middle + quantile(sorted, 0.025) / 100, high: middle + quantile(sorted, 0.975) / 100 };
}

/** `gap` points lie between two scores: its interval by their replicates, which are of the same resamples. */
function paired(gap, first, second) {
  if (gap === null || !first?.length || first.length !== second?.length) return { gap, low: null, high: null };
  return {
    gap,
    ...interval(
      gap,
      first.map((value, index) => value - second[index]),
    ),
  };
}

const isKnown = (difference) => difference.low !== null;
/** A difference is called one only when its interval leaves nothing out on one side. */
const isOne = (difference) => isKnown(difference) && (difference.low > 0 || difference.high < 0);

/** Of points with x and y those that no other beats in both, from the best x on. y is better when larger. */
function frontOf(all, isSmallerBetter) {
  const sign = isSmallerBetter ? 1 : -1;
  const front = [];
  for (const point of [...all].sort((a, b) => sign * (a.x - b.x) || b.y - a.y))
    if (front.length === 0 || point.y > front.at(-1).y) front.push(point);
  return front;
}
