// A scatter plot on a canvas, to be moved and magnified with pointer, wheel or keys.

import { h, panel } from "./dom.js";

const NAMED_AT = 2.2;
const REACH = 12;
/** How much of the canvas the points take. */
const FILL = 0.92;
/** A name is left out that would cover more points than this. */
const MOST_COVERED = 3;
const MOST_NAMES = 40;

/**
 * @param {string} title
 * @param {object} options
 * @param {() => object[]} options.points { key, label, x, y, colour, item, near, shape } with x and y from -1 to 1; shape: dot, ring or triangle
 * @param {() => object} options.chosen { user, marks: [[colour, [x, y]], …] | null, names }; the last mark is the user's own
 * @param {(user: string) => void} options.onpick a user's point was chosen
 * @param {(by: number) => void} options.onstep the next or the previous user is wanted
 */
export function plane(title, { points, chosen, onpick, onstep }) {
  const view = { x: 0, y: 0, zoom: 1 };
  const canvas = h("canvas", { tabindex: "0", role: "img" });
  const tip = h("div", { class: "tip", hidden: true });
  const button = (label, text, action) => h("button", { class: "button icon", type: "button", "aria-label": `${label}: ${title}`, title: label, onclick: action }, text);
  const magnify = (factor, at = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }) => {
    const zoom = Math.min(40, Math.max(1, view.zoom * factor));
    const size = scale() / view.zoom;
    // What is under the pointer stays there.
    view.x += (at.x - canvas.clientWidth / 2) * (1 / (size * view.zoom) - 1 / (size * zoom));
    view.y -= (at.y - canvas.clientHeight / 2) * (1 / (size * view.zoom) - 1 / (size * zoom));
    view.zoom = zoom;
    draw();
  };
  const whole = () => {
    Object.assign(view, { x: 0, y: 0, zoom: 1 });
    draw();
  };
  const element = panel(title, [canvas, tip], {
    actions: h("div", { class: "tools" }, button("Magnify", "+", () => magnify(1.5)), button("Reduce", "−", () => magnify(1 / 1.5)), button("All", "⤢", whole)),
    className: "plane",
  });

  // The first points shown say what fills the canvas; what is shown or hidden later moves nothing.
  let around = null;
  const scale = () => (around && view.zoom * FILL * Math.min(canvas.clientWidth / around.width, canvas.clientHeight / around.height)) || 1;
  const onScreen = ({ x, y }) => ({ x: canvas.clientWidth / 2 + (x - around.x - view.x) * scale(), y: canvas.clientHeight / 2 - (y - around.y - view.y) * scale() });

  function draw() {
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
    if (!width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const colour = (property) => style.getPropertyValue(property).trim();
    const all = points();
    around ??= bounds(all);
    const { user, marks, names } = chosen();
    const radius = Math.min(7, 2.6 * Math.sqrt(view.zoom) + 0.4);
    // Clouds lie over each other: each has a shape of its own, the smallest last, and colours do not mix.
    pen.globalAlpha = marks ? 0.8 : 0.9;
    for (const [shape, drawShape, size] of [["triangle", triangle, 1.25], ["ring", ring, 1], ["dot", dot, 0.85]])
      for (const point of all) if (!point.item && (point.shape ?? "dot") === shape) drawShape(pen, onScreen(point), size * radius, colour(point.colour));
    pen.globalAlpha = 1;
    for (const point of all) if (point.item) diamond(pen, onScreen(point), point.near ? 6 : 4, colour(point.colour));
    const marked = (marks ?? []).map(([paint, [x, y]]) => [paint, onScreen({ x, y })]);
    label(pen, all, { names, user, colour, font: style.fontFamily, everything: !marks || view.zoom >= NAMED_AT, marked });
    mark(pen, marked, colour);
    canvas.setAttribute("aria-label", `${title}: ${all.length} points${user ? `, ${user} marked` : ""}. Arrow keys move, plus and minus magnify, Page Up and Page Down change the user.`);
  }

  /** The chosen user's name, then those of items, the nearest first; none over another or over a mark. */
  function label(pen, all, { names, user, colour, font, everything, marked }) {
    const dots = all.map(onScreen);
    const covered = ([left, top, right, bottom]) => dots.reduce((count, { x, y }) => count + Number(x > left && x < right && y > top && y < bottom), 0);
    const taken = marked.map(([, { x, y }]) => [x - 10, y - 10, x + 10, y + 10]);
    pen.textBaseline = "middle";
    const items = all.filter((point) => names && point.item && (point.near || everything)).sort((a, b) => Number(b.near ?? 0) - Number(a.near ?? 0));
    const wanted = items.slice(0, MOST_NAMES).map((item) => ({ at: onScreen(item), text: cut(item.label), weight: 500, ink: item.near ? "--ink" : "--muted" }));
    if (marked.length) wanted.unshift({ at: marked[0][1], text: cut(user), weight: 700, ink: "--ink", gap: 6 });
    for (const { at, text, weight, ink, gap = 0 } of wanted) {
      pen.font = `${weight} 12px ${font}`;
      const width = pen.measureText(text).width;
      const free = ([left, top, right, bottom]) =>
        left >= 0 && right <= canvas.clientWidth && top >= 0 && bottom <= canvas.clientHeight && !taken.some((other) => left < other[2] && right > other[0] && top < other[3] && bottom > other[1]);
      const far = 12 + gap;
      const places = [
        [at.x + far / 2 + 3, at.y], [at.x - far - width, at.y], [at.x - width / 2, at.y - far - 4], [at.x - width / 2, at.y + far + 4],
        [at.x + far / 2, at.y - far], [at.x + far / 2, at.y + far], [at.x - far - width, at.y - far], [at.x - far - width, at.y + far],
      ];
      const boxes = places.map(([start, middle]) => [start, middle - 8, start + width + 6, middle + 8]).filter(free);
      const [best] = boxes.map((one) => [one, covered(one)]).sort((a, b) => a[1] - b[1]);
      if (!best || (best[1] > MOST_COVERED && weight < 700)) continue;
      const box = best[0];
      taken.push(box);
      const left = box[0] + 3;
      const middle = (box[1] + box[3]) / 2;
      pen.strokeStyle = colour("--panel");
      pen.lineWidth = 4;
      pen.lineJoin = "round";
      pen.strokeText(text, left, middle);
      pen.fillStyle = colour(ink);
      pen.fillText(text, left, middle);
    }
  }

  function nearest(event) {
    if (!around) return null;
    const frame = canvas.getBoundingClientRect();
    const at = { x: event.clientX - frame.left, y: event.clientY - frame.top };
    let best = null;
    for (const point of points()) {
      const place = onScreen(point);
      const distance = Math.hypot(place.x - at.x, place.y - at.y);
      if (distance < REACH && (!best || distance < best.distance)) best = { point, distance, place };
    }
    return best;
  }

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (held) {
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      held.moved ||= Math.hypot(dx, dy) > 3;
      if (!held.moved) return;
      view.x -= dx / scale();
      view.y += dy / scale();
      Object.assign(held, { x: event.clientX, y: event.clientY });
      tip.hidden = true;
      return draw();
    }
    const found = nearest(event);
    tip.hidden = !found;
    if (!found) return;
    tip.textContent = cut(found.point.label);
    tip.dir = "auto";
    tip.style.left = `${Math.min(found.place.x + 10, canvas.clientWidth - tip.offsetWidth - 4)}px`;
    tip.style.top = `${canvas.offsetTop + found.place.y - 30}px`;
  });
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("pointerup", (event) => {
    const clicked = held && !held.moved;
    held = null;
    const found = clicked && nearest(event);
    if (found && !found.point.item) onpick(found.point.key);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const frame = canvas.getBoundingClientRect();
      magnify(Math.exp(-event.deltaY / 300), { x: event.clientX - frame.left, y: event.clientY - frame.top });
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const step = 40 / scale();
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      draw();
    } else if (event.key === "+" || event.key === "=") magnify(1.5);
    else if (event.key === "-") magnify(1 / 1.5);
    else if (event.key === "0") whole();
    else if (event.key === "PageDown" || event.key === "PageUp") onstep(event.key === "PageDown" ? 1 : -1);
    else return;
    event.preventDefault();
  });
  return { element, draw, view };
}

const cut = (text) => (text.length > 48 ? `${text.slice(0, 47)}…` : text);

/** The middle and the extent of what there is. */
function bounds(points) {
  const [xs, ys] = [points.map((point) => point.x), points.map((point) => point.y)];
  if (!points.length) return null;
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return { x: (left + right) / 2, y: (low + high) / 2, width: right - left || 2, height: high - low || 2 };
}

function ring(pen, { x, y }, radius, colour) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  pen.stroke();
}

function triangle(pen, { x, y }, radius, colour) {
  pen.beginPath();
  pen.moveTo(x, y - 1.3 * radius);
  pen.lineTo(x + 1.2 * radius, y + 0.9 * radius);
  pen.lineTo(x - 1.2 * radius, y + 0.9 * radius);
  pen.closePath();
  pen.fillStyle = colour;
  pen.fill();
}

function dot(pen, { x, y }, radius, colour) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = colour;
  pen.fill();
}

function diamond(pen, { x, y }, size, colour) {
  pen.beginPath();
  pen.moveTo(x, y - size);
  pen.lineTo(x + size, y);
  pen.lineTo(x, y + size);
  pen.lineTo(x - size, y);
  pen.closePath();
  pen.fillStyle = colour;
  pen.fill();
}

/** The chosen user's marks, each joined to the last. */
function mark(pen, marked, colour) {
  const own = marked.at(-1)?.[1];
  pen.setLineDash([4, 4]);
  pen.lineWidth = 1.5;
  pen.strokeStyle = colour("--ink");
  for (const [, at] of marked.slice(0, -1)) {
    pen.beginPath();
    pen.moveTo(at.x, at.y);
    pen.lineTo(own.x, own.y);
    pen.stroke();
  }
  pen.setLineDash([]);
  for (const [paint, at] of marked) {
    dot(pen, at, 10, colour("--panel"));
    dot(pen, at, 8, colour("--ink"));
    dot(pen, at, 5.5, colour(paint));
  }
}
