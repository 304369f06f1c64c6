// Names beside points: each where it covers no other, or nowhere.

const ruler = document.createElement("canvas").getContext("2d");

function widthOf(text, font) {
  ruler.font = font;
  return ruler.measureText(text).width;
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
const inside = (a, frame) =>
  a.x >= frame.x && a.y >= frame.y && a.x + a.width <= frame.x + frame.width && a.y + a.height <= frame.y + frame.height;

/** Where a label may lie around its point: first on the side where nothing can be better, hence nothing is. */
function candidates({ x, y, r, width, height }, isLeftBetter) {
  const gap = r + 3;
  const [left, right] = [x - gap - width, x + gap];
  const [sideA, sideB] = isLeftBetter ? [left, right] : [right, left];
  const [above, below] = [y - r - height, y + r];
  return [
    [sideA, above + r / 2],
    [sideA, y - height / 2],
    [x - width / 2, above - 2],
    [sideB, above],
    [sideB, below],
    [x - width / 2, below + 2],
    [sideB, y - height / 2],
    [sideA, below],
  ].map(([at, top]) => ({ x: at, y: top, width, height }));
}

/** The labels, the first given first, with their boxes. One that is needed may cover what else is drawn, but no other label; any may cover `thin` lines where nothing else is free. */
function placed(labels, solid, pale, thin, frame, isLeftBetter) {
  const found = [];
  const isFree = (box, others) => !others.some((other) => overlap(box, other));
  for (const label of labels) {
    const apart = candidates(label, isLeftBetter).filter(
      (box) =>
        inside(box, frame) &&
        isFree(
          box,
          found.map((other) => other.box),
        ),
    );
    const clear = apart.filter((box) => isFree(box, solid));
    const open = clear.filter((box) => isFree(box, pale));
    const box = open.find((one) => isFree(one, thin)) ?? open[0] ?? (label.isNeeded ? (clear[0] ?? apart[0]) : null);
    if (box) found.push({ ...label, box, isOver: !isFree(box, [...solid, ...pale, ...thin]) });
  }
  return found;
}

const boxAround = ({ x, y, r }) => ({ x: x - r, y: y - r, width: 2 * r, height: 2 * r });
