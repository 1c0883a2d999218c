// Which view is shown, and the door where keys are asked for.

import { Refused, call, forgetKeys, hasKey, setKey } from "./api.js";
import { field, h, put, short } from "./dom.js";
import { onModels, place, refreshModels, state } from "./shared.js";
import { said, trouble } from "./trouble.js";

const VIEWS = [
  ["try", "Try", () => import("./try.js")],
  ["models", "Models", () => import("./models.js")],
  ["map", "Map", () => import("./map.js")],
  ["now", "Now", () => import("./now.js")],
  ["docs", "Docs", () => import("./docs.js")],
];

const main = document.getElementById("main");
const tabs = document.getElementById("tabs");
const status = document.getElementById("status");

let leave = null;
let turn = 0;

/** The active bundle, in the bar. */
onModels(({ models: [active] }) =>
  put(
    status,
    h("span", { class: "dot good", "aria-hidden": "true" }),
    h("span", { class: "clip", title: `${active.model}, ${active.preset}, ${active.id}` }, active.name, " · ", h("code", {}, short(active.id))),
    hasKey() && h("button", { class: "button quiet", type: "button", onclick: lock }, "Forget keys"),
  ),
);

function lock() {
  forgetKeys();
  boot();
}

async function show() {
  const mine = ++turn;
  leave?.();
  leave = null;
  const { view, query } = place();
  const known = VIEWS.find(([id]) => id === view);
  if (!known) return void (location.hash = "#/try");
  const [id, title, load] = known;
  document.title = `${title} · DiffCDR console`;
  for (const link of tabs.children) {
    if (link.hash === `#/${id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  tabs.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  try {
    await refreshModels();
    const module = await load();
    if (mine !== turn) return;
    const box = h("div", { class: `view view-${id}` });
    put(main, box);
    leave = (await module.show(box, query)) ?? null;
    if (mine !== turn) leave?.();
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

function fail(error) {
  if (error instanceof Refused && error.status === 401) return gate("");
  put(
    main,
    h(
      "div",
      { class: "panel gate stack" },
      h("h1", {}, "Something went wrong"),
      trouble(error, tabs.hidden ? boot : show),
    ),
  );
}

/** Nothing is shown before a key that opens it. */
function gate(why) {
  tabs.hidden = true;
  put(status);
  const input = h("input", { type: "password", autocomplete: "off", required: true });
  const form = h(
    "form",
    {
      class: "panel gate stack",
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          await call("GET", "v1/models", { key: input.value, ask: false });
        } catch (error) {
          return gate(error instanceof Refused && error.status < 500 ? "This key does not open the service." : said(error));
        }
        setKey("read", input.value);
        boot();
      },
    },
    h("h1", {}, "API key"),
    h("p", { class: "muted" }, "This service needs a key with the scope “read”. The key stays in this page’s memory until you reload."),
    field("Key", input),
    why && h("p", { class: "note bad", role: "alert" }, why),
    h("div", {}, h("button", { class: "button primary", type: "submit" }, "Open the console")),
  );
  put(main, form);
  input.focus();
}

async function boot() {
  put(main);
  try {
    await call("GET", "v1/models", { ask: false });
    state.openapi ??= (await call("GET", "openapi.json")).data;
  } catch (error) {
    return fail(error);
  }
  put(
    tabs,
    VIEWS.map(([id, title]) => h("a", { href: `#/${id}` }, title)),
  );
  tabs.hidden = false;
  fade();
  await show();
}

/** Where tabs go on beyond the right edge, they fade out there. */
const fade = () => tabs.classList.toggle("more", tabs.scrollLeft + tabs.clientWidth < tabs.scrollWidth - 4);
tabs.addEventListener("scroll", fade, { passive: true });
new ResizeObserver(fade).observe(tabs);

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return void (history.replaceState(null, "", "#/try"), main.focus());
  if (!tabs.hidden) show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
boot();
