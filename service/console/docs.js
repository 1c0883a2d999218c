// The API, from its own description, with examples that work on the data that is loaded.

import { call, send, timings } from "./api.js";
import { state } from "./shared.js";
import { examples } from "./examples.js";
import { announce, field, figure, h, name, panel, put } from "./dom.js";
import { trouble } from "./trouble.js";

const METHODS = ["get", "post", "put", "delete"];
const MOST_SHOWN = 20000;

export async function show(box) {
  const known = await examples();
  const groups = new Map();
  for (const [path, operations] of Object.entries(state.openapi.paths)) {
    for (const method of METHODS) {
      const operation = operations[method];
      if (!operation) continue;
      const tag = operation.tags?.[0] ?? "other";
      groups.set(tag, [...(groups.get(tag) ?? []), { method, path, operation }]);
    }
  }
  const shown = [];
  const toc = h(
    "nav",
    { class: "toc", "aria-label": "Operations" },
    [...groups].map(([tag, list]) =>
      h(
        "div",
        {},
        h("h2", { class: "small muted" }, tag),
        h(
          "ul",
          {},
          list.map((one) => {
            const section = described(one, known);
            shown.push(section);
            const jump = () => {
              section.scrollIntoView({ block: "start" });
              section.querySelector("h2").focus();
            };
            return h("li", {}, h("button", { type: "button", onclick: jump }, h("code", {}, one.method.toUpperCase()), " ", one.operation.summary ?? one.path));
          }),
        ),
      ),
    ),
  );
  const { title, version, description } = state.openapi.info;
  put(
    box,
    h("div", { class: "head" }, h("h1", {}, `${title} API`), h("span", { class: "badge num" }, version), h("span", { class: "small" }, h("a", { href: "../openapi.json" }, "openapi.json"), " · ", h("a", { href: "../docs" }, "/docs"))),
    h("div", { class: "docs" }, toc, h("div", { class: "operations" }, prose(description), shown)),
  );
}

/** Paragraphs, with `code` as code; descriptions hold nothing else. */
function prose(text = "") {
  return text
    .trim()
    .split(/\n\s*\n/)
    .filter(Boolean)
    .map((paragraph) => h("p", {}, paragraph.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part))));
}

function described({ method, path, operation }, known) {
  const parameters = operation.parameters ?? [];
  const responses = Object.entries(operation.responses ?? {});
  const heading = h(
    "div",
    { class: "row" },
    h("span", { class: `verb ${method}` }, method.toUpperCase()),
    h("code", { class: "address" }, path),
    h("h2", { tabindex: "-1" }, operation.summary ?? ""),
  );
  return panel(
    heading,
    h(
      "div",
      { class: "body stack" },
      prose(operation.description),
      parameters.length > 0 &&
        h(
          "details",
          {},
          h("summary", { class: "small" }, `Parameters (${parameters.length})`),
          h("table", {}, h("tbody", {}, parameters.map((one) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, one.name)), h("td", { class: "small" }, kind(one.schema), one.required ? ", required" : ""), h("td", { class: "small" }, prose(one.description ?? one.schema?.description)))))),
        ),
      h("details", {}, h("summary", { class: "small" }, `Responses (${responses.length})`), h("table", {}, h("tbody", {}, responses.map(([code, one]) => h("tr", {}, h("th", { scope: "row", class: "num" }, code), h("td", { class: "small" }, one.description)))))),
      runner(method, path, operation, known),
    ),
    { label: `${method.toUpperCase()} ${path}`, className: "operation" },
  );
}

function kind(schema = {}) {
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  const bounds = [schema.minimum !== undefined && `from ${schema.minimum}`, schema.maximum !== undefined && `to ${schema.maximum}`].filter(Boolean).join(" ");
  return [schema.enum ? schema.enum.join(" | ") : (schema.const ?? schema.type ?? ""), bounds].filter(Boolean).join(", ");
}

/** The example as it would be sent, to change and to run. */
function runner(method, path, operation, known) {
  const address = h("input", { type: "text", class: "mono", spellcheck: "false", value: known.address(path) });
  const content = Object.keys(operation.requestBody?.content ?? {});
  const example = content.length ? known.body(operation, path) : null;
  const body = example === null ? null : h("textarea", { rows: Math.min(12, example.split("\n").length), spellcheck: "false", value: example });
  const output = h("div", { class: "stack" }, h("p", { class: "waiting small muted" }, "The response appears here."));
  const changes = method === "delete" || method === "put" || path.startsWith("/v1/admin/") || path === "/v1/events";
  const run = async (event) => {
    event.preventDefault();
    put(output, h("p", { class: "small muted" }, "Sending …"));
    let answer;
    try {
      const options = body ? { body: body.value } : {};
      answer = await asked(method.toUpperCase(), address.value.replace(/^\/+/, ""), options);
    } catch (error) {
      put(output, trouble(error, () => run(event)));
      return;
    }
    announce(`status ${answer.status}`);
    const text = answer.data === null ? answer.text : JSON.stringify(answer.data, null, 2);
    const cut = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… ${text.length - MOST_SHOWN} characters more` : text;
    put(
      output,
      h("div", { class: "row small" }, h("span", { class: `badge ${answer.ok ? "good" : "bad"}` }, String(answer.status)), h("span", { class: "muted num" }, `${figure(answer.ms)} ms`), timings(answer.headers).map(([label, ms]) => h("span", { class: "muted num" }, `${label} ${figure(ms)} ms`))),
      text && h("pre", { tabindex: "0", "aria-label": "Response" }, name(cut)),
    );
  };
  return h(
    "form",
    { class: "run", onsubmit: run },
    h(
      "div",
      { class: "stack" },
      field("Address", address),
      body && field("Body", body),
      h("div", { class: "row" }, h("button", { class: "button primary", type: "submit" }, "Run"), changes && h("span", { class: "badge warn" }, "modifies data")),
    ),
    output,
  );
}

/** As it is, unless a key is asked for first. */
async function asked(method, path, options) {
  const answer = await send(method, path, options);
  if (answer.status !== 401 && answer.data?.code !== "forbidden") return answer;
  return call(method, path, options);
}
