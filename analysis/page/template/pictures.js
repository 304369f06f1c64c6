// What lies below the table: static pictures, notes, and the runs that were left out.

/** A picture is read when it is opened first: the page opens sooner. */
function pictureOf({ title, caption, svg }) {
  const box = element("details", { class: "picture" }, element("summary", {}, title));
  const fill = () => {
    const image = element("img", { alt: caption || title, src: `data:image/svg+xml,${encodeURIComponent(svg)}` });
    box.append(element("figure", {}, image, element("figcaption", {}, caption)));
  };
  box.addEventListener("toggle", fill, { once: true });
  return box;
}

function leftOutOf({ reason, runs, names }) {
  const more = runs > names.length && names.length ? [`and ${number(runs - names.length, 0)} more`] : [];
  const list = [...names, ...more].join(", ");
  const told = element("strong", {}, plural(runs, "run"));
  if (list.length < 120) return element("li", {}, told, `: ${reason}${list ? ` (${list})` : ""}`);
  return element("li", {}, element("details", {}, element("summary", {}, told, `: ${reason}`), element("p", {}, list)));
}

function show(id, parts, box = byId(id)) {
  byId(id).hidden = parts.length === 0;
  box.append(...parts);
}

function drawRest() {
  show("pictures", records(data.pictures).map(pictureOf));
  show(
    "notes",
    data.notes.map((note) => element("li", {}, note)),
    document.querySelector("#notes ul"),
  );
  const leftOut = records(data.left_out);
  show("left-out", leftOut.map(leftOutOf), document.querySelector("#left-out ul"));
  byId("left-out-title").textContent = `Left out: ${plural(
    leftOut.reduce((sum, { runs }) => sum + runs, 0),
    "run",
  )}`;
}
