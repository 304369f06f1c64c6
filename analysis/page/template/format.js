// Numbers and elements. Whatever comes from a run becomes text, never markup.

const UNKNOWN = "–";

function number(value, digits = 1) {
  if (value === null || value === undefined) return UNKNOWN;
  const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

/** Three digits that count, as more are seldom known of a time. */
function brief(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return number(value, Math.min(digits, 6));
}

// Between a number and its unit no line breaks.
const milliseconds = (value) => (value === null ? UNKNOWN : `${brief(value)}\u00a0ms`);
const inPoints = (value) => `${number(value)}\u00a0${number(Math.abs(value)) === "1.0" ? "point" : "points"}`;
/** A ratio of times. That of a busy machine is not precise, and says so (`ratio_text` in mkd/evaluation/speed.py). */
const ratioText = (value, isBusy) =>
  value === null || !isBusy ? number(value) : `about ${number(value, value < 1 ? 1 : 0)}`;

/** 1.2 M, 340 k. */
function large(value) {
  if (value === null) return UNKNOWN;
  const [size, name] = [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ].find(([step]) => value >= step) ?? [1, ""];
  return `${brief(value / size)}\u00a0${name}`.trim();
}

/** A round number on an axis: 500, 1K, 20M. */
const compact = (value) => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });

const bytes = (value) => (value === null ? UNKNOWN : large(value).replace(/\s?([kMG]?)$/, "\u00a0$1B"));
const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
/** As shortened, but the end stays too: it tells names apart. */
const squeezed = (text, most) => (text.length > most ? `${text.slice(0, most - 8)}…${text.slice(-7)}` : text);
/** The parts that are not empty, as a list in words. */
const listed = (parts, between = ", ") => parts.filter(Boolean).join(between);
const plural = (count, one, many = `${one}s`) => `${number(count, 0)} ${count === 1 ? one : many}`;

/** What was timed, such as b1-l128-t1, in words; another name as it is. */
function settingWords(setting) {
  const [, rows, tokens, threads] = /^b(\d+)-(?:l(\d+)|text)-t(\d+)$/.exec(setting) ?? [];
  if (!rows) return setting;
  const asked = tokens ? `${plural(Number(rows), "row")} of ${tokens} tokens` : plural(Number(rows), "raw text");
  return `${asked}, ${plural(Number(threads), "thread")}`;
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const drawn = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const byId = (id) => document.getElementById(id);

/** A link; plain text inside a frame, such as MLflow's, which lets no page open another. */
function link(text, url) {
  const opens = /^https?:/.test(url) && window.self === window.top;
  return opens ? element("a", { href: url, target: "_blank", rel: "noopener" }, text) : element("span", {}, text);
}
