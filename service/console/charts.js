// Differences with intervals, and lines over time. Every figure that is drawn stands there as text too.

import { figure, h, s } from "./dom.js";

/** Half the width of a 95 % interval, in standard errors. */
const Z = 1.96;

/**
 * What the served model gains on each other one, with a 95 % interval; a positive difference is a better one.
 * @param {object[]} rows { label, value, error, paired, own }; one is `own`. `paired`: standard error of the difference, user by
 *   user; without it, standard errors are taken as of independent figures.
 */
export function gainChart(title, rows, { lower }) {
  const own = rows.find((row) => row.own);
  const others = rows.filter((row) => !row.own).map((row) => {
    const gain = lower ? row.value - own.value : own.value - row.value;
    const half = Z * (row.paired ?? (own.error && row.error ? Math.hypot(own.error, row.error) : 0));
    return { ...row, gain, half, kind: gain - half > 0 ? "better" : gain + half < 0 ? "worse" : "" };
  });
  others.sort((a, b) => a.gain - b.gain);
  const reach = Math.max(...others.map((row) => Math.abs(row.gain) + row.half), 1e-12);
  const place = (value) => `${50 + (50 * value) / reach}%`;
  return h(
    "figure",
    { vars: { margin: "0" } },
    h("figcaption", { class: "spread" }, h("h3", {}, title), h("span", { class: "small muted" }, lower ? "lower is better" : "higher is better")),
    h(
      "div",
      { class: "gains", role: "list" },
      h("div", { class: "gain own", role: "listitem" }, h("span", { class: "clip", title: own.label }, own.label), h("span", { class: "small muted" }, "this bundle"), written(own)),
      others.map((row) =>
        h(
          "div",
          { class: `gain ${row.kind}`, role: "listitem" },
          h("span", { class: "clip", title: row.label }, row.label),
          h(
            "span",
            { class: "axis" },
            row.half ? h("i", { class: "whisker", vars: { left: place(row.gain - row.half), width: `${(100 * row.half) / reach}%` } }) : null,
            h("i", { class: "point", vars: { left: place(row.gain) } }),
          ),
          h("span", { class: "num" }, signed(row), h("span", { class: "muted" }, ` (${figure(row.value)})`)),
        ),
      ),
    ),
  );
}

/** A difference and half its interval, to as many places as the latter has two figures in. */
function signed({ gain, half }) {
  const places = half ? Math.min(5, Math.max(0, 1 - Math.floor(Math.log10(half)))) : 4;
  const sign = gain < 0 ? "−" : "+";
  return `${sign}${Math.abs(gain).toFixed(places)}${half ? ` ± ${half.toFixed(places)}` : ""}`;
}

/** The value, to as many places as its standard error has two figures in. */
function written({ value, error }) {
  if (!error) return h("span", { class: "num" }, figure(value));
  const places = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return h("span", { class: "num" }, value.toFixed(places), h("span", { class: "muted" }, ` ± ${error.toFixed(places)}`));
}

const WIDTH = 400;
const HEIGHT = 150;
const PAD = { left: 38, right: 6, top: 8, bottom: 20 };

/** The next of 1, 2, 5, 10, … that is at least `value`. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999) ?? 10 * power;
}

/**
 * Lines over the last `span` seconds.
 * @param {object[]} series each { label, colour, points: [[seconds before now, value | null], …] }
 */
export function lineChart(series, { span, whole = false, width = WIDTH }) {
  const values = series.flatMap((one) => one.points.map(([, value]) => value)).filter(Number.isFinite);
  const top = Math.max(roundUp(Math.max(0, ...values)), whole ? 2 : 0);
  const x = (ago) => PAD.left + (1 - Math.min(ago, span) / span) * (width - PAD.left - PAD.right);
  const y = (value) => HEIGHT - PAD.bottom - (value / top) * (HEIGHT - PAD.top - PAD.bottom);
  const steps = [0, 0.5, 1].map((part) => part * top);
  const step = [15, 30, 60, 120, 300].find((seconds) => span / seconds <= 4) ?? 300;
  const ticks = Array.from({ length: Math.floor(span / step) + 1 }, (_, index) => index * step);
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    steps.map((value) => [
      s("line", { class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }),
      s("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, axis(value)),
    ]),
    ticks.map((ago) => s("text", { x: x(ago), y: HEIGHT - 4, "text-anchor": ago === 0 ? "end" : ago > span - step / 4 ? "start" : "middle" }, ago ? `−${ago % 60 ? `${ago} s` : `${ago / 60} min`}` : "now")),
    series.map((one) => s("path", { class: "line", d: path(one.points, x, y), stroke: one.colour })),
  );
}

const axis = (value) => (value >= 10000 ? `${value / 1000} k` : String(Number(value.toPrecision(3))));

/** Straight pieces; a missing value is a gap. */
function path(points, x, y) {
  let text = "";
  let open = false;
  for (const [ago, value] of points) {
    if (!Number.isFinite(value)) open = false;
    else {
      text += `${open ? "L" : "M"}${x(ago).toFixed(1)} ${y(value).toFixed(1)}`;
      open = true;
    }
  }
  return text;
}
