// Puts the page together and listens.

function drawHeader() {
  byId("title").textContent = data.title;
  const leftOut = records(data.left_out).reduce((sum, { runs }) => sum + runs, 0);
  const jump = (id, text) => element("button", { "data-jump": id }, text);
  const parts = [
    ...Object.entries(data.source).map(([name, text]) => `${name} ${text}`),
    data.made && `made ${data.made}`,
    `${plural(models.length, "student")} from ${plural(
      models.reduce((sum, { runs }) => sum + runs.length, 0),
      "run",
    )}`,
    leftOut && jump("left-out", `${plural(leftOut, "run")} left out`),
    data.notes.length && jump("notes", plural(data.notes.length, "note")),
    ...records(data.links).map(({ text, url }) => link(text, url)),
  ];
  byId("source").append(...parts.filter(Boolean).map((part) => element("span", {}, part)));
}

function drawAll() {
  drawSlider();
  drawChart();
  drawAnswer();
  drawLegend();
  drawTable();
}

function listen() {
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { open, row, sort, page, jump } = button.dataset;
    if (open) openRow(open);
    else if (row) toggleRow(row);
    else if (sort) sortBy(sort);
    else if (page) turnTo(Number(page));
    else if (jump) byId(jump).scrollIntoView();
    else if (button.id === "clear") comparePair([]);
    else if (button.id === "whole") {
      state.isWhole = !state.isWhole;
      drawAll();
    }
  });
  byId("table").addEventListener("change", ({ target }) => {
    choosePair(target.dataset.pair, target.checked);
    comparePair(state.pair);
  });
}

function toggleRow(id) {
  if (!state.opened.delete(id)) state.opened.add(id);
  drawTable();
  focusOn("row", id);
}

function sortBy(column) {
  const isSame = state.sort.column === column;
  const isUp = isText(column) || COLUMNS.find(({ key }) => key === column).isUp;
  state.sort = { column, isDown: isSame ? !state.sort.isDown : !isUp };
  state.page = 0;
  drawTable();
  focusOn("sort", column);
}

function turnTo(page) {
  state.page = page;
  drawTable();
  byId("all").scrollIntoView();
}

function comparePair(pair) {
  const last = document.activeElement.dataset.pair;
  state.pair = pair;
  drawPair();
  drawTable();
  if (last) focusOn("pair", last);
  if (pair.length === 2) {
    byId("pair").focus({ preventScroll: true });
    byId("pair").scrollIntoView();
  }
}

/** The table is drawn anew at each change; who used the keyboard stays where they were. */
function focusOn(name, value) {
  [...document.querySelectorAll(`[data-${name}]`)].find((one) => one.dataset[name] === value)?.focus({ preventScroll: true });
}

drawHeader();
buildBudget();
buildFilters(drawAll);
listen();
listenToChart(openRow);
drawAll();
drawRest();
new ResizeObserver(() => {
  // On paper the picture is scaled as it is.
  if (window.matchMedia("print").matches) return;
  if (byId("chart").clientWidth === plot.width && byId("chart").clientHeight === plot.height) return;
  drawChart();
  drawAnswer();
}).observe(byId("chart"));
const box = byId("table").parentElement;
const wide = new ResizeObserver(() => {
  byId("sideways").hidden = box.scrollWidth <= box.clientWidth;
});
wide.observe(box);
wide.observe(byId("table"));
