// The answer in words: the best student under the budget, and what it loses.

/** The slider's range: from the fastest student to the slowest model of the machine, so that its ends mean something. */
function budgetRange() {
  const own = models.filter(({ machine, latency_ms }) => machine === state.machine && latency_ms > 0);
  const all = own.flatMap((model) => [model.latency_ms, teacherMs(model)]).filter(isPositive);
  return all.length ? [Math.min(...all), Math.max(...all)] : null;
}

const SLIDES = 1000;
const [FAST, USUAL] = [1, 5]; // milliseconds

/** The first budget: USUAL, or that of the middle of the front where all of it is faster than FAST, or none as fast as USUAL. */
function firstBudget() {
  const costs = frontOf(
    timed().map((model) => ({ x: model.latency_ms, choice: choiceOf(model) })),
    true,
  ).map(({ x }) => x);
  const middle = costs[Math.floor(costs.length / 2)] ?? null;
  return !isPositive(middle) || (costs[0] <= USUAL && costs.at(-1) >= FAST) ? USUAL : rounded(middle);
}

/** Two digits that count, rounded up, so that the model at the slider's place is under the budget. */
function rounded(value) {
  const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
  return Number((Math.ceil(value / unit - 1e-9) * unit).toPrecision(2));
}

const budgetAt = (place, [low, high]) => rounded(low * (high / low) ** (place / SLIDES));
const placeOf = (budget, [low, high]) =>
  high > low ? Math.round(SLIDES * Math.min(1, Math.max(0, Math.log(budget / low) / Math.log(high / low)))) : SLIDES;

function fact(name, figure, ...rest) {
  return [element("dt", {}, name), element("dd", {}, element("b", {}, figure), " ", element("span", {}, ...rest))];
}

const percent95 = ({ low, high }) => `${number(low)} to ${number(high)} with 95\u00a0%`;

function lossFact(model) {
  const loss = lossOf(model);
  if (loss.gap === null) {
    const why = model.teacher ? `its teacher ${model.teacher} has no ${taskName()} score here` : "its runs name no teacher";
    return fact("loses", UNKNOWN, why);
  }
  const [name, where] = loss.gap < 0 ? ["is", "above"] : ["loses", "to"];
  return fact(name, inPoints(Math.abs(loss.gap)), `${where} its teacher, ${verdict(flipped(loss))}`);
}

/** As a gain, where it is one. */
function flipped({ gap, low, high, seeds }) {
  return gap < 0 && low !== null ? { gap: -gap, low: -high, high: -low, seeds } : { gap, low, high, seeds };
}

/** What an interval bears out, in words: of one seed nothing of the method. */
function borneOut(difference) {
  if (difference.seeds > 1) return `${isOne(difference) ? "a" : "no"} difference that rows and seeds bear out`;
  return isOne(difference)
    ? "a difference of these two trained models; one seed says nothing of the method"
    : "no difference that the dev rows can tell";
}

function verdict(difference) {
  if (!isKnown(difference))
    return seedChosen() === null ? "interval not known" : "of one seed; intervals are of the mean over seeds";
  return `${percent95(difference)}: ${borneOut(difference)}`;
}

function facts(model, isBest) {
  const range = rangeOf(model);
  const of = state.task ? `at ${state.task}` : `mean of ${plural(data.tasks.length, "task")}`;
  const seeds = seedChosen() === null ? plural(model.seeds.length, "seed") : `seed ${state.seed}`;
  const over = model.seeds.length > 1 ? "seeds" : "dev rows";
  const ratio = speedup(model);
  return [
    ...lossFact(model),
    ...fact("scores", inPoints(scoreOf(model)), listed([of, seeds, range.low === null ? "" : `${percent95(range)} over ${over}`])),
    ...(isBest ? fact("chosen at", inPoints(choiceOf(model)), "on the selection split") : []),
    ...fact(
      "takes",
      milliseconds(model.latency_ms),
      listed([model.backend, settingWords(model.setting), model.busy && "on a busy machine"]),
    ),
    ...(ratio
      ? fact(
          "runs",
          `${ratioText(ratio, model.busy)}\u00a0×`,
          `${ratio < 1 ? "as fast as" : "faster than"} its teacher, which takes ${milliseconds(teacherMs(model))}`,
        )
      : []),
    ...fact("has", bytes(model.num_bytes), model.parameters === null ? "" : `${large(model.parameters)} parameters`),
  ];
}

function named(model) {
  return element("button", { class: "name", "data-open": model.id }, model.name);
}

function drawAnswer() {
  const among = timed();
  const best = bestUnder(state.budget, among);
  const choosable = among.filter((model) => choiceOf(model) !== null);
  const shown = best ?? fastest(choosable);
  const asked = `${state.kind && state.kind !== "other" ? state.kind : "student"}${state.task ? ` at ${state.task}` : ""}`;
  byId("answer-words").replaceChildren(
    ...(best
      ? [`ms a call, the best ${asked} is `, named(best), "."]
      : shown
        ? [`ms a call there is no ${asked}. The fastest, `, named(shown), `, takes ${milliseconds(shown.latency_ms)}.`]
        : [
            among.length
              ? `ms a call none is chosen: no ${asked} has a score on the selection split here, and dev's would flatter the best of many.`
              : models.length
              ? `ms a call there is no ${asked} to choose: none here has both a score and a latency.`
              : "ms a call there is nothing to choose from: the report holds no student.",
          ]),
  );
  byId("facts").replaceChildren(...(shown ? facts(shown, shown === best) : []));
  const like = best && alike(best, among);
  byId("alike").replaceChildren(
    ...(like
      ? [named(like), ` takes ${milliseconds(like.latency_ms)}, and the dev rows cannot tell its score from this one.`]
      : []),
  );
  drawBudget(best);
}

/** The number in the sentence and the slider below it, which follow each other. */
function buildBudget() {
  const input = element("input", {
    id: "budget",
    type: "number",
    min: "0",
    step: "any",
    inputmode: "decimal",
    "aria-label": "Budget in milliseconds a call",
  });
  byId("claim").replaceChildren("Under ", input, " ", element("span", { id: "answer-words", "aria-live": "polite" }));
  state.budget = firstBudget();
  input.value = state.budget;
  input.addEventListener("input", () => {
    if (!(input.valueAsNumber > 0)) return;
    state.budget = input.valueAsNumber;
    drawSlider();
    drawAnswer();
  });
  byId("slider").addEventListener("input", () => {
    state.budget = budgetAt(byId("slider").valueAsNumber, budgetRange());
    input.value = state.budget;
    byId("slider").setAttribute("aria-valuetext", `${state.budget} ms`);
    drawAnswer();
  });
}

function drawSlider() {
  const range = budgetRange();
  byId("budgets").hidden = !range || range[0] === range[1];
  if (!range) return;
  byId("slider").value = placeOf(state.budget, range);
  byId("slider").setAttribute("aria-valuetext", `${state.budget} ms`);
  byId("least").textContent = milliseconds(range[0]);
  byId("most").textContent = milliseconds(range[1]);
}
