// Loaded bundles, their quality against the baselines, and how traffic is split between them.

import { call } from "./api.js";
import { bundleName, note, refreshModels, state } from "./shared.js";
import { gainChart } from "./charts.js";
import { fillExperiments } from "./experiments.js";
import { announce, field, figure, h, name, panel, put, short, whole } from "./dom.js";
import { said } from "./trouble.js";

const STATES = { stable: "good", canary: "accent", shadow: "accent", previous: "", loaded: "" };
/** [name, whether lower is better; null for descriptive measures] in the order shown. */
const METRICS = {
  "ndcg@20": ["NDCG@20", false], "recall@20": ["Recall@20", false], "hr@20": ["HR@20", false],
  rmse_clipped: ["RMSE, clipped", true], mae_clipped: ["MAE, clipped", true], rmse: ["RMSE", true], mae: ["MAE", true],
  "coverage@20": ["Catalogue coverage@20", null], "novelty@20": ["Novelty@20, bits", null], "gini@20": ["Gini of exposure@20", null],
  "head_share@20": ["Most popular 1 %, share", null], "similarity@20": ["Similarity within a list", null],
};

const when = (iso) => new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

export async function show(box, query) {
  let chosen = query.get("bundle");
  const side = h("div", { class: "side stack" });
  const detail = h("div", { class: "detail" });
  const experiments = h("div", { class: "stack" });
  put(box, h("h1", { class: "visually-hidden" }, "Models"), h("div", { class: "models" }, side, detail));

  function draw() {
    const { models, traffic, refused } = state.models;
    const model = models.find((one) => one.id === chosen) ?? models[0];
    put(side, listing(models, model), trafficPanel(models, traffic, act), loading(act), refused.length > 0 && refusals(refused));
    put(detail, overview(model, models, act), experiments, quality(model), data(model));
  }

  async function act(what, method, path, body) {
    try {
      await call(method, path, { body });
      announce(`${what}: done`);
    } catch (error) {
      side.querySelector("[role=alert]")?.remove();
      side.prepend(h("p", { class: "note bad", role: "alert" }, `${what}: ${said(error)}`));
      side.firstChild.scrollIntoView({ block: "nearest" });
      return;
    }
    await refreshModels();
    draw();
    fillExperiments(experiments);
  }

  side.addEventListener("click", (event) => {
    const link = event.target.closest("a.bundle");
    if (!link) return;
    event.preventDefault();
    chosen = link.dataset.id;
    note("models", { bundle: chosen });
    draw();
    side.querySelector("a[aria-current]")?.focus();
  });
  draw();
  fillExperiments(experiments);
}

function listing(models, shown) {
  return panel(
    "Bundles",
    h(
      "div",
      {},
      models.map((model) =>
        h(
          "a",
          { class: "bundle", href: `#/models?bundle=${model.id}`, "data-id": model.id, "aria-current": model === shown ? "true" : null },
          h("span", { class: "spread" }, h("b", { class: "clip" }, name(model.name)), h("span", { class: `badge ${STATES[model.state] ?? ""}` }, model.state)),
          h("span", { class: "spread small muted" }, h("span", { class: "clip" }, `${model.model}, ${model.preset} · `, h("code", {}, short(model.id))), h("span", { class: "nowrap" }, when(model.created_at))),
        ),
      ),
    ),
    { actions: h("span", { class: "small muted num" }, String(models.length)) },
  );
}

function overview(model, models, act) {
  const facts = [
    ["Model", `${model.model}, ${model.preset}`],
    ["Scores", model.objective === "rating" ? "predicted ratings" : "ranking only"],
    ["Transfer", model.transfer === "affine" ? "folded map" : "solver graph"],
    ["New users", model.fold_in ? "fold-in" : "popular list"],
    ["Runs on", `${model.device} (${model.provider} ${model.provider_version}), search on ${model.search_device}`],
    ["Trained", when(model.created_at)],
    ["Loaded", when(model.loaded_at)],
  ];
  const hasPrevious = models.some((one) => one.state === "previous");
  const actions = h(
    "div",
    { class: "row" },
    h("button", { class: "button primary", type: "button", disabled: model.state === "stable", onclick: () => act("Activate", "POST", "v1/admin/models/activate", { model: model.id }) }, model.state === "stable" ? "Active" : "Activate"),
    h("button", { class: "button", type: "button", disabled: !hasPrevious, onclick: () => act("Roll back", "POST", "v1/admin/models/rollback") }, "Roll back"),
  );
  return panel(
    h("div", { class: "row" }, h("h1", {}, name(model.name)), h("span", { class: `badge ${STATES[model.state] ?? ""}` }, model.state)),
    h(
      "div",
      { class: "body stack" },
      h("dl", { class: "facts", vars: { margin: "0" } }, facts.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
      h("p", { class: "small muted" }, "Hash ", h("code", { vars: { "overflow-wrap": "anywhere" } }, model.id)),
      (!model.histories || !model.map) &&
        h("p", { class: "note small" }, `This bundle was published with no ${[!model.histories && "histories", !model.map && "map"].filter(Boolean).join(" and no ")}.`),
    ),
    { actions, label: "Bundle" },
  );
}

/** The figures of the served model that are worth a chart: unclipped errors only where no clipped ones are. */
function judged(figures) {
  return Object.keys(METRICS).filter((metric) => METRICS[metric][1] !== null && Number.isFinite(figures[metric]) && !Number.isFinite(figures[`${metric}_clipped`]));
}

function quality(model) {
  const scopes = Object.keys(model.metrics);
  if (!scopes.length) return panel("Quality", h("p", { class: "empty" }, "The manifest has no figures."));
  const body = h("div", { class: "stack" });
  const draw = (scope) => {
    const models = model.metrics[scope];
    const errors = model.standard_errors[scope] ?? {};
    const paired = model.paired[scope] ?? {};
    const charts = judged(models[model.model] ?? {}).map((metric) => {
      const rows = Object.entries(models)
        .filter(([, figures]) => Number.isFinite(figures[metric]))
        .map(([id, figures]) => ({ label: id, value: figures[metric], error: errors[id]?.[metric] ?? null, paired: paired[id]?.metric === metric ? paired[id].standard_error : null, own: id === model.model }));
      const [title, lower] = METRICS[metric];
      return gainChart(title, rows, { lower });
    });
    const byUser = Object.values(paired)[0]?.metric;
    const how = byUser && `${METRICS[byUser]?.[0] ?? byUser} is compared user by user. The other intervals ignore that the users are the same, and are wider for it.`;
    put(body, how && h("p", { class: "small muted" }, how), h("div", { class: "charts" }, charts), description(model, models));
  };
  const select = h("select", { "aria-label": "Users measured on", onchange: () => draw(select.value) }, scopes.map((scope) => h("option", { value: scope, selected: scope === "test" }, `${scope} users`)));
  draw(scopes.includes("test") ? "test" : scopes[0]);
  return panel(
    "Difference to the other models on the same users, 95 % interval",
    h("div", { class: "body stack" }, model.shortfalls.length > 0 && h("div", { class: "note warn stack" }, h("b", {}, "Worse than a baseline"), model.shortfalls.map((line) => h("span", { class: "small" }, line))), body),
    { actions: h("div", {}, select) },
  );
}

/** What the lists of each model are like, where neither more nor less is better. */
function description(model, models) {
  const shown = Object.keys(METRICS).filter((metric) => METRICS[metric][1] === null && Object.values(models).some((figures) => Number.isFinite(figures[metric])));
  if (!shown.length) return null;
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "What the lists are like" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "What the lists are like"), shown.map((metric) => h("th", { scope: "col", class: "num wrap" }, METRICS[metric][0])))),
      h(
        "tbody",
        {},
        Object.entries(models).map(([id, figures]) =>
          h("tr", { class: id === model.model ? "own" : null }, h("th", { scope: "row" }, id), shown.map((metric) => h("td", { class: "num" }, figure(figures[metric] ?? NaN)))),
        ),
      ),
    ),
  );
}

function data(model) {
  const { source, target, split, test_fraction: share, seed, cut } = model.data;
  const total = Object.values(split).reduce((sum, value) => sum + value, 0) || 1;
  const colours = ["var(--s1)", "var(--s2)", "var(--s3)"];
  const reasons = [...new Set([...Object.keys(source.left_out), ...Object.keys(target.left_out)])];
  const counts = Object.entries(model.counts).map(([label, value]) => h("div", {}, h("dt", {}, label.replaceAll("_", " ")), h("dd", { class: "num" }, whole(value))));
  const line = (label, first, second) => h("tr", {}, h("th", { scope: "row" }, label), h("td", { class: "num" }, whole(first)), h("td", { class: "num" }, whole(second)));
  return panel(
    "Data",
    h(
      "div",
      { class: "body stack" },
      h("dl", { class: "facts", vars: { margin: "0" } }, counts),
      h("h3", {}, cut ? `Overlap users: tested on those who came after ${cut}, seed ${seed}` : `Overlap users: a share of ${share} held out for the test, seed ${seed}`),
      h("div", { class: "split", "aria-hidden": "true" }, Object.values(split).map((value) => h("i", { vars: { flex: String(value / total) } }))),
      h("div", { class: "row" }, Object.entries(split).map(([label, value], index) => h("span", { class: "key", vars: { "--c": colours[index] } }, `${label} ${whole(value)}`))),
      h("h3", {}, "Removed by cleaning"),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Removed by cleaning" },
        h(
          "table",
          {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Rows"), h("th", { scope: "col", class: "num" }, "source: ", name(source.name)), h("th", { scope: "col", class: "num" }, "target: ", name(target.name)))),
          h(
            "tbody",
            {},
            line("read", source.rows_read, target.rows_read),
            reasons.map((reason) => line(reason.replaceAll("_", " "), source.left_out[reason] ?? 0, target.left_out[reason] ?? 0)),
            line("kept", source.rows_kept, target.rows_kept),
          ),
        ),
      ),
    ),
  );
}

function trafficPanel(models, traffic, act) {
  const others = models.filter((model) => model.state !== "stable");
  const choice = (chosen) => h("select", {}, h("option", { value: "" }, "none"), others.map((model) => h("option", { value: model.id, selected: model.id === chosen }, bundleName(model))));
  const share = (value) => h("input", { type: "number", min: 0, max: 100, step: "any", value: String(value) });
  const canary = choice(traffic.canary);
  const percent = share(traffic.percent);
  const salt = h("input", { type: "text", maxlength: 64, value: traffic.salt, placeholder: "any text" });
  const hasShadow = "shadow" in (state.openapi.components.schemas.TrafficSplit?.properties ?? {});
  const shadow = choice(traffic.shadow?.model);
  const shadowed = share(traffic.shadow?.percent ?? 0);
  const submit = (event) => {
    event.preventDefault();
    act("Traffic", "PUT", "v1/admin/traffic", {
      canary: canary.value || null,
      percent: canary.value ? Number(percent.value) || 0 : 0,
      salt: salt.value,
      ...(hasShadow ? { shadow: shadow.value ? { model: shadow.value, percent: Number(shadowed.value) || 0 } : null } : {}),
    });
  };
  return panel(
    "Traffic",
    h(
      "form",
      { class: "body stack", onsubmit: submit },
      others.length === 0 && h("p", { class: "small muted" }, "Load another bundle to split traffic between two."),
      h("div", { class: "pair" }, field("Canary", canary), field("Percent of users", percent)),
      field("Sampling salt", salt),
      hasShadow && h("div", { class: "pair" }, field("Shadow traffic", shadow), field("Percent of requests", shadowed)),
      h("div", {}, h("button", { class: "button", type: "submit", disabled: others.length === 0 }, "Split traffic")),
    ),
  );
}

function loading(act) {
  const path = h("input", { type: "text", placeholder: "below the bundle root", required: true, autocomplete: "off" });
  return panel(
    "Load a bundle",
    h(
      "form",
      {
        class: "body row",
        onsubmit: (event) => {
          event.preventDefault();
          act("Load", "POST", "v1/admin/models/load", { path: path.value });
        },
      },
      h("div", { vars: { flex: "1" } }, field("Directory", path)),
      h("button", { class: "button", type: "submit", vars: { "align-self": "end" } }, "Load"),
    ),
  );
}

const refusals = (refused) =>
  panel("Refused bundles", h("ul", { class: "ratings" }, refused.map((one) => h("li", {}, h("div", {}, h("b", { class: "small" }, name(one.path)), h("p", { class: "small muted clamp" }, name(one.reason)))))));

