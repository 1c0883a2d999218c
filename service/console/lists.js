// A ranked list with the reasons for it; two of them with what they share.

import { timings } from "./api.js";
import { because, UNEXPLAINED } from "./because.js";
import { figure, h, name, panel, s, short, whole } from "./dom.js";

const WHY = {
  transfer: "Transferred: the user has source ratings and no target ratings.",
  fold_in: "Folded in from source ratings in the request or from events.",
  warm: "Warm start: the user’s own target ratings count.",
  popular: "The popular list, as for an unknown user.",
};
const BECAUSE = {
  opted_out: "The user opted out.",
  unknown_user: "The bundle does not know this user.",
  no_usable_history: "The bundle knows none of the rated items.",
  vectors_unavailable: "Source vectors are unavailable at the moment.",
  state_unavailable: "Opt-outs cannot be read at the moment, so everyone gets the popular list.",
};
const OVERLAP_AT = 20;

const modelOf = (models, id) => models.find((model) => model.id === id);

/** What the scores of a list are: they order it, and mean something only where they are ratings or counts. */
function unitOf(strategy, model) {
  if (strategy === "popular") return { text: (score) => `${whole(score)} ratings`, title: "number of target ratings" };
  if (model?.objective === "rating") return { text: (score) => score.toFixed(2), title: "predicted rating" };
  return { text: () => "", title: "relative score: it orders this list and compares with no other" };
}

/** One list in a panel. */
export function showList(answer, models, { onexclude, other = null, side = "", who = "this user" } = {}) {
  const { items, strategy, fallback_reason, unexplained_reason, bundle } = answer.data;
  const model = modelOf(models, bundle);
  const scores = items.map((item) => item.score);
  const low = Math.min(0, ...scores);
  const high = Math.max(...scores, low + 1e-9);
  const ranks = other && new Map(other.map((item) => [item.item_id, item.rank]));
  const heading = h(
    "div",
    { class: "row" },
    h("h2", {}, side ? `${side}: ` : "", model ? name(model.name) : "Bundle"),
    model && h("span", { class: "small muted" }, `${model.model}, ${model.preset}`),
    h("code", { class: "muted", title: bundle }, short(bundle)),
  );
  return panel(
    heading,
    [
      h(
        "div",
        { class: "why" },
        h("span", { class: `badge ${strategy === "popular" ? "warn" : "accent"}` }, strategy.replace("_", "-")),
        h("span", { class: "small" }, strategy === "popular" && fallback_reason ? BECAUSE[fallback_reason] ?? fallback_reason : WHY[strategy] ?? ""),
        UNEXPLAINED[unexplained_reason] && h("span", { class: "small muted" }, UNEXPLAINED[unexplained_reason]),
      ),
      items.length
        ? h(
            "ol",
            { class: "list", "aria-label": `${items.length} items` },
            items.map((item) => row(item, { low, high, rank: ranks?.get(item.item_id), compared: Boolean(other), onexclude, who, unit: unitOf(strategy, model) })),
          )
        : h("p", { class: "empty" }, "No items left to recommend."),
      timing(answer),
    ],
    { label: `List ${side}`.trim(), className: "answer" },
  );
}

function row(item, { low, high, rank, compared, onexclude, who, unit }) {
  const width = `${(100 * (item.score - low)) / (high - low)}%`;
  const title = item.title ?? item.item_id;
  const line = h(
    "li",
    {
      class: compared && rank ? "common" : null,
      "data-item": item.item_id,
      onpointerenter: () => link(item.item_id, true),
      onpointerleave: () => link(item.item_id, false),
    },
    h("span", { class: "rank num" }, item.rank),
    h(
      "div",
      { class: "what" },
      h("span", { class: "clamp" }, name(title)),
      item.title && h("span", { class: "clip small muted" }, name(item.item_id)),
      item.explanation && because(item, who),
    ),
    compared && h("span", { class: "also small num" }, rank ? `#${rank}` : ""),
    h(
      "span",
      { class: "score", title: `${unit.title}: ${figure(item.score)}` },
      h("span", { class: "num small" }, unit.text(item.score)),
      h("span", { class: "meter" }, h("i", { vars: { width } })),
    ),
    onexclude && h("button", { class: "button quiet icon", type: "button", "aria-label": `Exclude ${title}`, title: "Exclude", onclick: () => onexclude(item) }, "×"),
  );
  return line;
}

function link(id, on) {
  for (const line of document.querySelectorAll(".list > li")) if (line.dataset.item === id) line.classList.toggle("linked", on);
}

function timing(answer) {
  const parts = timings(answer.headers);
  const inside = parts.filter(([label]) => label !== "engine");
  const shown = inside.length > 1 ? inside : parts;
  return h(
    "footer",
    { class: "timing small" },
    h("span", { class: "muted" }, "Response time ", h("b", { class: "num" }, `${figure(answer.ms)} ms`)),
    shown.map(([label, ms]) => h("span", { class: "muted" }, `${label} `, h("span", { class: "num" }, `${figure(ms)} ms`))),
    h("span", { class: "muted clip" }, "request ", h("code", {}, answer.data.request_id)),
  );
}

/** Two lists side by side, what they have in common joined by lines. */
export function compareLists([first, second], models, options) {
  const top = (answer) => new Set(answer.data.items.slice(0, OVERLAP_AT).map((item) => item.item_id));
  const [a, b] = [top(first), top(second)];
  const common = [...a].filter((id) => b.has(id)).length;
  const of = Math.max(1, Math.min(OVERLAP_AT, Math.max(a.size, b.size)));
  const left = showList(first, models, { ...options, other: second.data.items, side: "A" });
  const right = showList(second, models, { ...options, other: first.data.items, side: "B" });
  const lines = s("svg", { class: "joins", "aria-hidden": "true" });
  const pair = h("div", { class: "two" }, left, lines, right);
  const draw = () => join(pair, lines);
  new ResizeObserver(draw).observe(pair);
  return h(
    "div",
    { class: "stack" },
    h(
      "div",
      { class: "panel overlap" },
      h("span", {}, "Overlap@20"),
      h("b", { class: "num big", "data-overlap": (common / of).toFixed(2) }, (common / of).toFixed(2)),
      h("span", { class: "muted small" }, `${common} of the first ${of} items are in both lists`),
    ),
    pair,
  );
}

function join(pair, lines) {
  const frame = lines.getBoundingClientRect();
  lines.replaceChildren();
  if (!frame.width) return;
  const middle = (line) => {
    const box = line.getBoundingClientRect();
    return box.top + box.height / 2 - frame.top;
  };
  const [left, right] = [...pair.querySelectorAll(".list")].map((list) => new Map([...list.children].map((line) => [line.dataset.item, line])));
  for (const [id, line] of left ?? []) {
    const other = right?.get(id);
    if (!other) continue;
    const [from, to] = [middle(line), middle(other)];
    const half = frame.width / 2;
    lines.append(s("path", { d: `M0 ${from} C${half} ${from} ${half} ${to} ${frame.width} ${to}` }));
  }
}
