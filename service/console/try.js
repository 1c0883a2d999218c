// A user's list, and why it is what it is; two bundles side by side.

import { call, segment } from "./api.js";
import { note, state } from "./shared.js";
import { combobox } from "./combobox.js";
import { announce, h, name, panel, put, whole } from "./dom.js";
import { length, options } from "./options.js";
import { newcomer } from "./newcomer.js";
import { compareLists, showList } from "./lists.js";
import { said, trouble } from "./trouble.js";

const HISTORY_SHOWN = 20;

/** "5 film-1" as the address has it. */
function readRated(text) {
  const [rating, ...rest] = text.split(" ");
  return rest.length && Number.isFinite(Number(rating)) ? { item_id: rest.join(" "), rating: Number(rating) } : null;
}

/** Everything that the question is made of. */
function startingPoint(query) {
  return {
    mode: query.get("mode") === "new" ? "new" : "known",
    user: query.get("user") ?? "",
    ratings: query.getAll("rated").map(readRated).filter(Boolean),
    k: length(query.get("k")),
    diversity: Math.min(1, Math.max(0, Number(query.get("diversity")) || 0)),
    exclude: query.getAll("without").map((item_id) => ({ item_id })),
    excludeSeen: query.get("seen") !== "listed",
    first: query.get("model") || null,
    second: query.get("with") || null,
    optedOut: false,
  };
}

/** The first of some known users who has no target ratings, as the service is for them; else the first. */
async function coldUser() {
  const { users } = (await call("GET", "v1/users", { query: { limit: 50 } })).data;
  if (users.length < 2) return users[0] ?? "";
  const { text } = await call("POST", "v1/recommendations/batch", { body: users.map((user_id) => ({ user_id, k: 1 })) });
  const cold = text.trim().split("\n").map((line) => JSON.parse(line)).findIndex((answer) => answer.strategy === "transfer");
  return users[Math.max(0, cold)];
}

export async function show(box, query) {
  const q = startingPoint(query);
  const known = new Set(state.models.models.map((model) => model.id));
  if (!known.has(q.first)) q.first = null;
  if (!known.has(q.second)) q.second = null;
  if (!q.user && q.mode === "known") q.user = await coldUser();

  const who = h("div", { class: "stack" });
  const privacy = h("div", { class: "privacy" });
  const past = h("div", { class: "stack" });
  const lists = h("div", { class: "lists" });
  const frame = h("div", { class: "try" });
  const chips = h("ul", { class: "chips", "aria-label": "Excluded items" });
  const taken = state.openapi.components.schemas.RecommendationRequest?.properties ?? {};
  const hasDiversity = "diversity" in taken;
  let asking = null;
  let alive = true;

  const body = (model) => ({
    ...(q.mode === "known" ? { user_id: q.user } : { history: q.ratings.map(({ item_id, rating }) => ({ item_id, rating })) }),
    k: q.k,
    exclude_items: q.exclude.map((item) => item.item_id),
    exclude_seen: q.excludeSeen,
    ...(hasDiversity && q.diversity > 0 ? { diversity: q.diversity } : {}),
    ...("explain" in taken ? { explain: true } : {}),
    ...(model ? { model } : {}),
  });

  async function ask() {
    frame.classList.toggle("folded", q.mode === "new" || q.second !== null);
    note("try", {
      mode: q.mode === "new" ? "new" : "",
      user: q.mode === "known" ? q.user : "",
      k: q.k === 20 ? "" : q.k,
      diversity: q.diversity || "",
      model: q.first ?? "",
      with: q.second ?? "",
      without: q.exclude.map((item) => item.item_id),
      seen: q.excludeSeen ? "" : "listed",
      rated: q.mode === "new" ? q.ratings.map(({ item_id, rating }) => `${rating} ${item_id}`) : "",
    });
    drawChips();
    asking?.abort();
    const mine = (asking = new AbortController());
    if (q.mode === "known" ? !q.user : !q.ratings.length) {
      put(lists, h("div", { class: "panel empty" }, q.mode === "known" ? "Choose a user." : "Add one or more ratings to get a list."));
      return;
    }
    const asked = [q.first, ...(q.second ? [q.second] : [])];
    try {
      const answers = await Promise.all(
        asked.map((model) => call("POST", "v1/recommendations", { body: body(model), signal: mine.signal })),
      );
      if (mine.signal.aborted || !alive) return;
      q.optedOut = answers[0].data.fallback_reason === "opted_out";
      drawWho();
      const shown = { who: q.mode === "new" ? "you" : "this user", onexclude: (item) => (q.exclude.push(item), ask()) };
      put(lists, answers.length === 2 ? compareLists(answers, state.models.models, shown) : showList(answers[0], state.models.models, shown));
      announce(`${answers[0].data.items.length} items, strategy ${answers[0].data.strategy}`);
    } catch (error) {
      if (error.name === "AbortError" || !alive) return;
      put(lists, trouble(error, ask));
    }
  }

  /** What the past panel holds; `total` is there where there is a history. */
  async function remembered(user, limit) {
    const model = state.models.models.find((one) => one.id === q.first) ?? state.models.models[0];
    const empty = (text) => [h("p", { class: "empty small" }, text)];
    if (!model.histories) return empty("This bundle does not hold histories.");
    try {
      const { data } = await call("GET", `v1/users/${segment(user)}/history`, { query: { limit, model: q.first } });
      const more = h("button", { class: "button quiet", type: "button", onclick: () => drawPast(Math.min(1000, limit * 5)) }, `Show more of ${whole(data.total)}`);
      const content = [h("ol", { class: "ratings" }, data.items.map(ratedItem)), data.total > data.items.length && data.items.length < 1000 && h("div", { class: "more" }, more)];
      return Object.assign(content, { total: data.total });
    } catch (error) {
      return empty(error.code === "user_unknown" ? "No history: the user is unknown to the bundle, opted out or erased." : said(error));
    }
  }

  async function drawPast(limit = HISTORY_SHOWN) {
    if (q.mode === "new" || !q.user) return put(past);
    const user = q.user;
    const content = await remembered(user, limit);
    if (user !== q.user || !alive) return;
    put(past, panel("Source ratings", content, { actions: content.total !== undefined && h("span", { class: "small muted num" }, whole(content.total)), className: "past" }));
  }

  function drawWho() {
    if (q.mode === "new") {
      if (who.dataset.mode !== "new") put(who, newcomer(q, ask));
      who.dataset.mode = "new";
      put(privacy);
      return;
    }
    const { element, input } = combobox({
      label: "User",
      placeholder: "Start typing an id",
      text: q.user,
      find: async (text, signal) =>
        (await call("GET", "v1/users", { query: { prefix: text === q.user ? "" : text, limit: 12, model: q.first }, signal })).data.users,
      value: (user) => user,
      show: (user) => [name(user)],
      choose: (user) => {
        if (!user) return;
        q.user = user;
        drawPast();
        ask();
      },
    });
    const focused = who.contains(document.activeElement) && document.activeElement.role === "combobox";
    put(who, element, q.optedOut && h("div", {}, h("span", { class: "badge warn" }, "opted out")));
    put(
      privacy,
      h("button", { class: "button quiet", type: "button", onclick: q.optedOut ? toggleOptOut : askOptOut }, q.optedOut ? "Opt in again" : "Opt out …"),
    );
    who.dataset.mode = "known";
    if (focused) input.focus();
  }

  /** Opting out changes what every caller gets for this user: it is asked first. */
  function askOptOut() {
    const close = () => (dialog.close(), dialog.remove());
    const dialog = h(
      "dialog",
      { "aria-labelledby": "opt-out-title", oncancel: (event) => (event.preventDefault(), close()) },
      h(
        "div",
        { class: "stack" },
        h("h2", { id: "opt-out-title" }, "Opt out ", name(q.user), "?"),
        h("p", { class: "small muted" }, "The service then gives this user the popular list, for every caller. Opting in again undoes it."),
        h(
          "div",
          { class: "row" },
          h("button", { class: "button danger", type: "button", onclick: () => (close(), toggleOptOut()) }, "Opt out"),
          h("button", { class: "button", type: "button", onclick: close }, "Cancel"),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".row > :last-child").focus();
  }

  async function toggleOptOut() {
    try {
      await call(q.optedOut ? "DELETE" : "PUT", `v1/users/${segment(q.user)}/opt-out`);
      announce(q.optedOut ? "opted in again" : "opted out");
    } catch (error) {
      put(lists, trouble(error, toggleOptOut));
      return;
    }
    drawPast();
    await ask();
  }

  function drawChips() {
    put(
      chips,
      q.exclude.map((item, index) =>
        h(
          "li",
          { class: "chip" },
          h("span", { class: "clip" }, name(item.title ?? item.item_id)),
          h("button", { class: "button quiet icon", type: "button", "aria-label": `Include ${item.title ?? item.item_id}`, onclick: () => (q.exclude.splice(index, 1), ask()) }, "×"),
        ),
      ),
    );
  }

  const modes = h(
    "fieldset",
    { class: "segments", "aria-label": "Kind of user" },
    [["known", "Known user"], ["new", "New user"]].map(([mode, label]) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: "mode",
          value: mode,
          checked: q.mode === mode,
          onchange: () => {
            q.mode = mode;
            drawWho();
            drawPast();
            ask();
          },
        }),
        label,
      ),
    ),
  );
  const controls = panel(
    "Request",
    h("div", { class: "body stack" }, modes, who, h("hr", {}), options(q, { hasDiversity, ask, drawPast, chips }), privacy),
    { className: "question" },
  );
  put(box, h("h1", { class: "visually-hidden" }, "Try a user"), frame);
  put(frame, controls, past, lists);
  drawWho();
  drawPast();
  await ask();
  return () => {
    alive = false;
    asking?.abort();
  };
}

function ratedItem(item) {
  return h(
    "li",
    {},
    h("span", { class: "clamp" }, name(item.title ?? item.item_id)),
    h("span", { class: "stars num", "aria-label": `rated ${item.rating}` }, item.rating.toLocaleString("en", { maximumFractionDigits: 2 })),
  );
}
