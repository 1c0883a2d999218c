// What a request for a list says beyond its user.

import { call } from "./api.js";
import { bundleName, state } from "./shared.js";
import { combobox } from "./combobox.js";
import { field, h, name } from "./dom.js";

/** A list's length as the service takes it. */
export const length = (text) => Math.min(500, Math.max(1, Math.round(Number(text)) || 20));

/** The form's part for what a request may say beyond its user: length, diversity, excluded items, bundles. */
export function options(q, { hasDiversity, ask, drawPast, chips }) {
  const k = h("input", { type: "number", min: 1, max: 500, value: String(q.k), onchange: () => ((q.k = length(k.value)), (k.value = String(q.k)), ask()) });
  const shown = h("output", { class: "num" }, q.diversity.toFixed(2));
  const diversity = h("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    value: String(q.diversity),
    oninput: () => (shown.textContent = Number(diversity.value).toFixed(2)),
    onchange: () => ((q.diversity = Number(diversity.value)), ask()),
  });
  const choice = (chosen, empty, set) => {
    const select = h(
      "select",
      { onchange: () => (set(select.value || null), drawPast(), ask()) },
      h("option", { value: "" }, empty),
      state.models.models.map((model) => h("option", { value: model.id, selected: model.id === chosen }, bundleName(model))),
    );
    return select;
  };
  const seen = h("input", { type: "checkbox", checked: q.excludeSeen, onchange: () => ((q.excludeSeen = seen.checked), ask()) });
  const exclude = combobox({
    label: "Exclude items",
    placeholder: "Title or id",
    find: async (text, signal) => (text ? (await call("GET", "v1/items", { query: { q: text, limit: 12, model: q.first }, signal })).data.items : []),
    value: () => "",
    show: (item) => [name(item.title ?? item.item_id), item.title && h("span", { class: "second clip" }, name(item.item_id))],
    choose: (text, item) => {
      if (!item && !text.trim()) return;
      q.exclude.push(item ?? { item_id: text.trim() });
      exclude.input.value = "";
      ask();
    },
  });
  return h(
    "details",
    { class: "refine", open: matchMedia("(min-width: 641px)").matches },
    h("summary", {}, "Options"),
    h(
      "div",
      { class: "stack" },
      h("div", { class: "pair" }, field("Length", k), hasDiversity && h("div", { class: "field" }, h("span", { class: "spread" }, h("label", { for: (diversity.id = "diversity") }, "Diversity"), shown), diversity)),
      exclude.element,
      chips,
      h("label", { class: "check" }, seen, "Exclude rated items"),
      field("Bundle", choice(q.first, "by traffic split", (id) => (q.first = id))),
      field("Compare with", choice(q.second, "none", (id) => (q.second = id))),
    ),
  );
}
