// A new user, described by ratings of source items.

import { call } from "./api.js";
import { combobox } from "./combobox.js";
import { field, h, name, put } from "./dom.js";
import { state } from "./shared.js";

/** "item, 4" or "item 4" a line, or JSON as the API takes it; what cannot be read is left out and counted. */
export function readRatings(text) {
  try {
    const parsed = JSON.parse(text);
    const list = Array.isArray(parsed) ? parsed : (parsed.history ?? []);
    const good = list.filter((entry) => typeof entry?.item_id === "string" && Number.isFinite(entry?.rating));
    return { ratings: good.map(({ item_id, rating }) => ({ item_id, rating })), wrong: list.length - good.length };
  } catch {
    // Not JSON: lines.
  }
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  const ratings = lines
    .map((line) => /^(.+?)[\s,;]+(-?\d+(?:\.\d+)?)$/.exec(line))
    .filter(Boolean)
    .map(([, item_id, rating]) => ({ item_id: item_id.replace(/^"|"$/g, ""), rating: Number(rating) }));
  return { ratings, wrong: lines.length - ratings.length };
}

/** Items looked up at a time. */
const LOOKUPS = 8;

/** Controls that change `q.ratings` and ask again. */
export function newcomer(q, ask) {
  const { models } = state.models;
  // Ratings of lists say that somebody had an item; how much they liked it counts in ratings alone.
  const { objective, likes } = models.find((model) => model.id === q.first) ?? models[0];
  const valued = objective === "rating" || Boolean(likes);
  const list = h("ul", { class: "ratings plain", "aria-label": "Ratings" });
  const said = h("p", { class: "small muted", role: "status" });

  function draw() {
    put(
      list,
      q.ratings.map((entry, index) =>
        h(
          "li",
          {},
          h("span", { class: "clamp" }, name(entry.title ?? entry.item_id)),
          entry.known === false && h("span", { class: "badge warn" }, "unknown item"),
          valued && rating(entry),
          h("button", { class: "button quiet icon", type: "button", "aria-label": `Remove ${entry.title ?? entry.item_id}`, onclick: () => (q.ratings.splice(index, 1), changed()) }, "×"),
        ),
      ),
    );
  }
  function rating(entry) {
    const input = h("input", { type: "number", step: "0.5", value: String(entry.rating), "aria-label": `Rating of ${entry.title ?? entry.item_id}`, onchange: () => ((entry.rating = Number(input.value) || 0), ask()) });
    return input;
  }
  function changed() {
    draw();
    ask();
    look();
  }
  /** Look up items that were pasted or typed: one that the bundle does not know counts for nothing, and is marked. */
  async function look() {
    const open = q.ratings.filter((entry) => entry.known === undefined);
    for (let start = 0; start < open.length; start += LOOKUPS) {
      await Promise.all(open.slice(start, start + LOOKUPS).map(known));
      draw();
    }
  }
  async function known(entry) {
    if (entry.title) return void (entry.known = true);
    try {
      // Items are found by how their id begins, in order: the very item comes first.
      const [found] = (await call("GET", "v1/items", { query: { domain: "source", q: entry.item_id, limit: 1, model: q.first } })).data.items;
      entry.known = found?.item_id === entry.item_id;
      if (entry.known) entry.title = found.title;
    } catch {
      // It stays unmarked: nothing is known of it either way.
    }
  }
  function take(entry) {
    q.ratings = [...q.ratings.filter((known) => known.item_id !== entry.item_id), entry];
  }

  const item = combobox({
    label: "Add source ratings",
    placeholder: "Title or id",
    find: async (text, signal) => (await call("GET", "v1/items", { query: { domain: "source", q: text, limit: 12, model: q.first }, signal })).data.items,
    value: () => "",
    show: (entry) => [name(entry.title ?? entry.item_id), entry.title && h("span", { class: "second clip" }, name(entry.item_id))],
    choose: (text, entry) => {
      if (!entry && !text.trim()) return;
      take({ ...(entry ?? { item_id: text.trim() }), rating: Math.max(5, likes?.source ?? 5) });
      item.input.value = "";
      changed();
    },
  });
  const pasted = h("textarea", { rows: 4, placeholder: "film-0001, 5\nfilm-0002, 2" });
  const paste = h(
    "details",
    {},
    h("summary", { class: "small" }, "Paste ratings"),
    h(
      "div",
      { class: "stack" },
      field("One “item, rating” a line, or JSON", pasted),
      h(
        "div",
        {},
        h(
          "button",
          {
            class: "button",
            type: "button",
            onclick: () => {
              const { ratings, wrong } = readRatings(pasted.value);
              ratings.slice(0, 1000).forEach(take);
              said.textContent = `${ratings.length} ratings added${wrong ? `, ${wrong} lines not understood` : ""}`;
              changed();
            },
          },
          "Add ratings",
        ),
      ),
      said,
    ),
  );
  draw();
  look();
  return [item.element, list, objective !== "rating" && h("p", { class: "small muted" }, likes ? `This bundle ranks: ratings from ${likes.source} on are likes, others count for nothing.` : "This bundle ranks: each rating counts as a like, whatever its value."), paste];
}
