// The last 15 minutes, from the service's own metrics.

import { call } from "./api.js";
import { lineChart } from "./charts.js";
import { figure, h, panel, put, whole } from "./dom.js";
import { said } from "./trouble.js";

const SPAN = 900;
const SHORTEST_SPAN = 60;
const COLOURS = ["var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)"];

const grown = (later, earlier) => Math.max(0, later - earlier);

/** The latency below which `share` of the requests between two samples lie, in seconds, between bucket bounds. */
export function quantile(share, bounds, later, earlier) {
  const counts = later.map((value, index) => grown(value, earlier[index]));
  const total = counts.at(-1);
  if (!total) return null;
  const wanted = share * total;
  const bucket = counts.findIndex((value) => value >= wanted);
  if (bucket >= bounds.length) return bounds.at(-1);
  const low = bucket ? bounds[bucket - 1] : 0;
  const below = bucket ? counts[bucket - 1] : 0;
  return low + ((bounds[bucket] - low) * (wanted - below)) / Math.max(1e-12, counts[bucket] - below);
}

/** What happened between neighbouring samples. */
export function intervals({ samples, latency_bounds: bounds }) {
  return samples.slice(1).map((later, index) => {
    const earlier = samples[index];
    const seconds = Math.max(0.001, later.at - earlier.at);
    const rates = (kind) => Object.fromEntries(Object.entries(later[kind]).map(([key, value]) => [key, grown(value, earlier[kind][key] ?? 0) / seconds]));
    const batches = grown(later.batches, earlier.batches);
    return {
      at: later.at,
      rate: grown(later.requests, earlier.requests) / seconds,
      statuses: rates("statuses"),
      p50: quantile(0.5, bounds, later.latency, earlier.latency),
      p99: quantile(0.99, bounds, later.latency, earlier.latency),
      batch: batches ? grown(later.batch_rows, earlier.batch_rows) / batches : null,
      queue: later.queue_rows,
      shed: grown(later.shed_rows, earlier.shed_rows) / seconds,
      dropped: grown(later.dropped_rows, earlier.dropped_rows) / seconds,
      strategies: rates("strategies"),
      reasons: rates("fallback_reasons"),
      up: later.state_up,
    };
  });
}

export async function show(box) {
  const tiles = h("div", { class: "tiles" });
  const graphs = h("div", { class: "graphs" });
  put(box, h("div", { class: "head" }, h("h1", {}, "Now"), h("span", { class: "muted small" }, "Last 15 minutes, all workers: lists, vectors and events that callers asked for; not what this console asks, nor probes.")), tiles, graphs);
  let answer = (await call("GET", "v1/activity")).data;
  let timer = null;

  function draw() {
    const found = intervals(answer);
    put(tiles, summary(answer, found));
    const columns = Math.max(1, Math.floor((graphs.clientWidth + 16) / 416));
    // The last sample is of this moment: what is shorter than half an interval says little.
    const [before, last] = answer.samples.slice(-2);
    if (last && last.at - before.at < answer.interval_seconds / 2) found.pop();
    const drawn = charts(found, Math.max(240, Math.round((graphs.clientWidth + 16) / columns) - 46));
    put(graphs, drawn.length ? drawn : h("p", { class: "panel empty" }, "No traffic in the last 15 minutes. Charts appear with the first requests."));
  }
  async function follow() {
    if (!document.hidden) {
      try {
        // The last sample is of the moment it was asked for, and no part of the ring.
        const kept = answer.samples.slice(0, -1);
        const { data } = await call("GET", "v1/activity", { query: { since: kept.at(-1)?.at ?? 0 } });
        const cut = data.samples.at(-1).at - SPAN;
        answer = { ...data, samples: [...kept, ...data.samples].filter((sample) => sample.at >= cut) };
        draw();
        box.querySelector("[role=alert]")?.remove();
      } catch (error) {
        if (!box.querySelector("[role=alert]")) tiles.before(h("p", { class: "note bad", role: "alert" }, `${said(error)} Trying again.`));
      }
    }
    timer = setTimeout(follow, 1000 * answer.interval_seconds);
  }
  draw();
  timer = setTimeout(follow, 1000 * answer.interval_seconds);
  return () => clearTimeout(timer);
}

function summary({ samples, latency_bounds: bounds }, found) {
  const last = samples.at(-1);
  const recent = samples.findLast((sample) => sample.at <= last.at - 60) ?? samples[0];
  const seconds = Math.max(1, last.at - recent.at);
  const p50 = quantile(0.5, bounds, last.latency, recent.latency);
  const p99 = quantile(0.99, bounds, last.latency, recent.latency);
  const batches = grown(last.batches, recent.batches);
  const milliseconds = (value) => (value === null ? "–" : `${figure(1000 * value)} ms`);
  const tile = (label, value, kind = "") => h("div", { class: "panel tile" }, h("span", { class: "small muted" }, label), h("b", { class: "num" }, value), kind && h("span", { class: `badge ${kind[0]}` }, kind[1]));
  const shed = grown(last.shed_rows, samples[0].shed_rows);
  const requests = grown(last.requests, recent.requests);
  const errors = grown(last.statuses["5xx"] ?? 0, recent.statuses["5xx"] ?? 0);
  const sum = (sample) => Object.values(sample.strategies).reduce((total, value) => total + value, 0);
  const lists = grown(sum(last), sum(recent));
  const fallbacks = grown(last.strategies.popular ?? 0, recent.strategies.popular ?? 0);
  const percent = (part, all) => (all ? `${figure((100 * part) / all)} %` : "–");
  return [
    tile("Requests/s", figure(requests / seconds)),
    tile("p99 latency", milliseconds(p99)),
    tile("Errors (5xx)", percent(errors, requests), errors ? ["bad", `${whole(errors)} in 1 min`] : ""),
    tile("Fallbacks", percent(fallbacks, lists)),
    tile("p50 latency", milliseconds(p50)),
    tile("Mean batch size", batches ? figure(grown(last.batch_rows, recent.batch_rows) / batches) : "–"),
    tile("Queue", whole(last.queue_rows), shed ? ["warn", `${whole(shed)} shed in 15 min`] : ""),
    tile("State store", last.state_up ? "up" : "down", last.state_up ? (found.every((one) => one.up) ? "" : ["warn", "was down"]) : ["bad", "cached copy in use"]),
  ];
}

function charts(found, width) {
  const span = Math.min(SPAN, Math.max(SHORTEST_SPAN, found.length ? found.at(-1).at - found[0].at : 0));
  const graph = (title, series, options = {}) => graphPanel(title, series, { width, span, ...options });
  const now = found.at(-1)?.at ?? 0;
  const line = (label, index, pick) => ({ label, colour: COLOURS[index % COLOURS.length], points: found.map((one) => [now - one.at, pick(one)]) });
  const named = (kind) => {
    const keys = [...new Set(found.flatMap((one) => Object.keys(one[kind])))];
    return keys.map((key, index) => line(key.replaceAll("_", " "), index, (one) => one[kind][key] ?? 0));
  };
  const ms = (value) => (value === null ? null : 1000 * value);
  return [
    graph("Requests/s by status", named("statuses")),
    graph("Latency, ms", [line("p50", 0, (one) => ms(one.p50)), line("p99", 2, (one) => ms(one.p99))]),
    graph("Batch size", [line("mean", 0, (one) => one.batch)]),
    graph("Queue, users", [line("waiting", 0, (one) => one.queue)], { whole: true }),
    graph("Lists/s by strategy", named("strategies")),
    graph("Fallbacks/s by reason", named("reasons")),
    graph("Shed and dropped users/s", [line("shed", 2, (one) => one.shed), line("dropped", 4, (one) => one.dropped)]),
  ].filter(Boolean);
}

/** A chart in a panel; null where nothing changes: the tiles have the figure. */
function graphPanel(title, series, options) {
  const latest = (one) => one.points.findLast(([, value]) => Number.isFinite(value))?.[1];
  const changes = (one) => new Set(one.points.map(([, value]) => value).filter(Number.isFinite)).size > 1;
  if (!series.some(changes)) return null;
  const body = lineChart(series, options);
  return panel(
    title,
    h("div", { class: "graph stack" }, body, h("div", { class: "row" }, series.map((one) => h("span", { class: "key", vars: { "--c": one.colour } }, `${one.label} `, h("b", { class: "num" }, figure(latest(one) ?? NaN)))))),
  );
}
