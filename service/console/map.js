// Source vectors of users, where each model transfers them to, and where their own target ratings put them.

import { call, segment } from "./api.js";
import { bundleName, note, state as shared } from "./shared.js";
import { combobox } from "./combobox.js";
import { announce, field, h, name, panel, put } from "./dom.js";
import { plane } from "./plane.js";
import { trouble } from "./trouble.js";

const OTHERS = ["--s6", "--s7", "--s8"];
/** Of other models' clouds, how many are shown at first: more hide each other. */
const OTHERS_SHOWN = 1;

export async function show(box, query) {
  const { models } = shared.models;
  const state = { model: models.find((one) => one.id === query.get("bundle")) ?? models[0], user: query.get("user") ?? "" };
  const body = h("div", {});
  const choice = h(
    "select",
    { onchange: () => ((state.model = models.find((one) => one.id === choice.value)), draw()) },
    models.map((model) => h("option", { value: model.id, selected: model === state.model }, `${bundleName(model)}${model.map ? "" : ": no map"}`)),
  );
  let leave = null;
  let turn = 0;

  async function draw() {
    const mine = ++turn;
    leave?.();
    leave = null;
    if (!state.model.map) {
      note("map", { bundle: state.model.id, user: state.user });
      put(body, h("div", { class: "panel empty" }, h("h2", {}, "No map"), h("p", {}, "This bundle was published without a map. Train it again with this version.")));
      return;
    }
    try {
      const { data } = await call("GET", "v1/map", { query: { model: state.model.id } });
      if (mine === turn) leave = await drawn(body, state, data);
      if (mine !== turn) leave?.();
    } catch (error) {
      if (mine !== turn) return;
      put(body, trouble(error, draw));
    }
  }

  put(
    box,
    h(
      "div",
      { class: "head" },
      h("h1", {}, "Map"),
      h("p", { class: "muted small" }, "Users known in both domains and the most rated items, placed by t-SNE at training. Close points are similar; long distances mean little."),
      h("div", { class: "choice" }, field("Bundle", choice)),
    ),
    body,
  );
  await draw();
  return () => (turn++, leave?.());
}

/** The clouds of users on the target plane: [key, what it is, colour, where a user stands in it, shape]. */
function clouds(model, users) {
  const others = Object.keys(users[0]?.others ?? {});
  return [
    ["transferred", `transferred by ${model.model}`, "--s1", (user) => user.transferred, "dot"],
    ...others.map((other, index) => [`by ${other}`, `transferred by ${other}`, OTHERS[index % OTHERS.length], (user) => user.others?.[other] ?? null, "triangle"]),
    ["target", "own target ratings", "--s3", (user) => user.target, "ring"],
  ];
}

async function drawn(body, state, answer) {
  const layers = clouds(state.model, answer.users);
  const hidden = new Set(layers.slice(1 + OTHERS_SHOWN, -1).map(([key]) => key));
  const about = h("div", { class: "stack" });
  let place = null;
  let asked = 0;

  const items = () =>
    answer.items.map((item) => ({ key: item.item_id, label: item.title ?? item.item_id, x: item.point[0], y: item.point[1], item: true, colour: "--s2", near: place?.near.some((one) => one.item_id === item.item_id) }));
  const users = ([, , colour, of, shape]) => answer.users.map((user) => ({ key: user.user_id, label: user.user_id, x: of(user)[0], y: of(user)[1], colour, shape }));
  /** The chosen user's marks: other models' only where the map has the user. */
  const marks = () => {
    if (!place) return null;
    const known = answer.users.find((user) => user.user_id === place.user_id);
    const at = { ...known, transferred: place.transferred, target: place.target };
    return layers.filter(([key]) => !hidden.has(key)).map(([, , colour, of]) => [colour, of(at)]).filter(([, point]) => point);
  };
  const step = (by) => {
    const ids = answer.users.map((user) => user.user_id);
    if (ids.length) choose(ids[(ids.indexOf(state.user) + by + ids.length) % ids.length]);
  };
  const target = plane("Target vectors", {
    points: () => [...layers.filter(([key]) => !hidden.has(key)).flatMap(users), ...(hidden.has("items") ? [] : items())],
    chosen: () => ({ user: state.user, marks: marks(), names: true }),
    onpick: choose,
    onstep: step,
  });
  const source = plane("Source vectors", {
    points: () => users(["source", "", "--s4", (user) => user.source]),
    chosen: () => ({ user: state.user, marks: place && (place.source ? [["--s4", place.source]] : []), names: false }),
    onpick: choose,
    onstep: step,
  });
  const redraw = () => {
    target.draw();
    source.draw();
  };

  function choose(user) {
    state.user = user;
    search.input.value = user;
    select();
  }

  async function select() {
    const mine = ++asked;
    note("map", { bundle: state.model === shared.models.models[0] ? "" : state.model.id, user: state.user });
    place = null;
    if (state.user) {
      try {
        const found = (await call("GET", `v1/users/${segment(state.user)}/map`, { query: { model: state.model.id } })).data;
        if (mine !== asked) return;
        place = found;
        announce(`${state.user}: nearest ${place.near[0]?.title ?? place.near[0]?.item_id ?? "nothing"}`);
      } catch (error) {
        if (mine !== asked) return;
        put(about, trouble(error, select));
        return redraw();
      }
    }
    put(about, place ? described(place) : h("p", { class: "small muted" }, "Choose a point, or type an id."));
    redraw();
  }

  const search = combobox({
    label: "User",
    placeholder: "Start typing an id",
    text: state.user,
    find: async (text, signal) => (await call("GET", "v1/users", { query: { prefix: text === state.user ? "" : text, limit: 12, model: state.model.id }, signal })).data.users,
    value: (user) => user,
    show: (user) => [name(user)],
    choose: (user) => user && choose(user),
  });
  const shown = [...layers, ["items", "most rated items", "--s2", null, "item"]].map(([key, label, colour, , shape]) => {
    const input = h("input", { type: "checkbox", checked: !hidden.has(key), onchange: () => (hidden[input.checked ? "delete" : "add"](key), target.draw()) });
    return h("label", { class: "check" }, input, h("span", { class: `key ${shape}`, vars: { "--c": `var(${colour})` } }, label));
  });
  put(
    body,
    h(
      "div",
      { class: "mapping" },
      h("div", { class: "planes" }, target.element, source.element),
      panel("User", h("div", { class: "body stack" }, search.element, about, h("h3", {}, "Shown"), h("div", { class: "legend" }, shown))),
    ),
  );
  const resized = new ResizeObserver(redraw);
  resized.observe(body);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  await select();
  return () => {
    asked++;
    resized.disconnect();
    scheme.removeEventListener("change", redraw);
  };
}

function described(place) {
  const stable = shared.models.models[0];
  return [
    h("div", { class: "row" }, h("b", { class: "clip" }, name(place.user_id)), h("span", { class: "badge" }, place.on_map ? "on the map" : "placed among similar users")),
    place.target === null && h("p", { class: "small muted" }, "No target ratings: transferred from the source."),
    place.source === null && h("p", { class: "small muted" }, "No source ratings."),
    h("h3", {}, "Nearest items"),
    h("ol", { class: "ratings plain" }, place.near.map((item, index) => h("li", {}, h("span", { class: "clamp" }, name(item.title ?? item.item_id)), h("span", { class: "small muted num" }, String(index + 1))))),
    h("a", { href: `#/try?${new URLSearchParams({ user: place.user_id, ...(place.bundle === stable.id ? {} : { model: place.bundle }) })}` }, "Open this user’s list"),
  ];
}
