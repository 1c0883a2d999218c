// Where users come from, where they are carried to, and where their own ratings put them.

import { call, segment } from "./api.js";
import { note, state as shared } from "./app.js";
import { combobox } from "./combobox.js";
import { announce, h, name, panel, put } from "./dom.js";
import { plane } from "./plane.js";

const LAYERS = {
  transferred: ["carried over", "--s1"],
  target: ["by their own target ratings", "--s3"],
  items: ["most rated items", "--s2"],
};

export async function show(box, query) {
  if (!shared.models.models[0].map) {
    put(box, h("div", { class: "panel empty" }, h("h1", {}, "No map"), h("p", {}, "This bundle has no map: it was published without. Train it again with this version.")));
    return;
  }
  const answer = (await call("GET", "v1/map")).data;
  const state = { user: query.get("user") ?? "", place: null, hidden: new Set() };
  const about = h("div", { class: "stack" });
  const choose = (user) => {
    state.user = user;
    search.input.value = user;
    select();
  };
  const ofUsers = (kind) => answer.users.map((user) => ({ key: user.user_id, label: user.user_id, x: user[kind][0], y: user[kind][1], kind }));
  const target = plane("Target vectors", {
    points: () => [
      ...(state.hidden.has("target") ? [] : ofUsers("target")),
      ...(state.hidden.has("transferred") ? [] : ofUsers("transferred")),
      ...(state.hidden.has("items") ? [] : answer.items.map((item) => ({ key: item.item_id, label: item.title ?? item.item_id, x: item.point[0], y: item.point[1], kind: "item", near: state.place?.near.some((one) => one.item_id === item.item_id) }))),
    ],
    chosen: () => ({ user: state.user, places: state.place && [["transferred", state.place.transferred], ["target", state.place.target]], names: true }),
    onpick: choose,
  });
  const source = plane("Source vectors", {
    points: () => ofUsers("source"),
    chosen: () => ({ user: state.user, places: state.place && [["source", state.place.source]], names: false }),
    onpick: choose,
  });
  const redraw = () => {
    target.draw();
    source.draw();
  };

  async function select() {
    note("map", { user: state.user });
    state.place = null;
    if (state.user) {
      try {
        state.place = (await call("GET", `v1/users/${segment(state.user)}/map`)).data;
        announce(`${state.user}: nearest ${state.place.near[0]?.title ?? state.place.near[0]?.item_id ?? "nothing"}`);
      } catch (error) {
        put(about, h("p", { class: "note bad", role: "alert" }, error.message));
        return redraw();
      }
    }
    put(about, state.place ? described(state.place) : h("p", { class: "small muted" }, "Choose a point, or type an id."));
    redraw();
  }

  const search = combobox({
    label: "User",
    placeholder: "Begin to type an id",
    text: state.user,
    find: async (text, signal) => (await call("GET", "v1/users", { query: { prefix: text === state.user ? "" : text, limit: 12 }, signal })).data.users,
    value: (user) => user,
    show: (user) => [name(user)],
    choose: (user) => user && choose(user),
  });
  const legend = h(
    "div",
    { class: "legend" },
    Object.entries(LAYERS).map(([kind, [label, colour]]) => {
      const input = h("input", { type: "checkbox", checked: true, onchange: () => (state.hidden[input.checked ? "delete" : "add"](kind), target.draw()) });
      return h("label", { class: "check" }, input, h("span", { class: "key", vars: { "--c": `var(${colour})` } }, label));
    }),
  );
  put(
    box,
    h("div", { class: "head" }, h("h1", {}, "Map"), h("span", { class: "muted small" }, `${answer.users.length} users known in both domains, and ${answer.items.length} items, drawn by t-SNE when the bundle was made. Near means alike; distances far apart mean little.`)),
    h(
      "div",
      { class: "mapping" },
      h("div", { class: "planes" }, target.element, source.element),
      panel("Who", h("div", { class: "body stack" }, search.element, about, h("h3", {}, "Shown"), legend)),
    ),
  );
  const resized = new ResizeObserver(redraw);
  resized.observe(box);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  await select();
  return () => {
    resized.disconnect();
    scheme.removeEventListener("change", redraw);
  };
}

function described(place) {
  return [
    h("div", { class: "row" }, h("b", { class: "clip" }, name(place.user_id)), h("span", { class: "badge" }, place.on_map ? "on the map" : "placed between the most alike")),
    place.target === null && h("p", { class: "small muted" }, "New in the target: carried over alone."),
    place.source === null && h("p", { class: "small muted" }, "Not known in the source."),
    h("h3", {}, "Nearest of these items"),
    h("ol", { class: "ratings plain" }, place.near.map((item, index) => h("li", {}, h("span", { class: "clamp" }, name(item.title ?? item.item_id)), h("span", { class: "small muted num" }, String(index + 1))))),
    h("a", { href: `#/try?user=${encodeURIComponent(place.user_id)}` }, "See this user’s list"),
  ];
}
