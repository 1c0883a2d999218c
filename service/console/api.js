// Asking the service. Keys live in this module's memory and nowhere else: a reload forgets them.

import { field, h } from "./dom.js";

const root = new URL("../", document.baseURI);
const keys = { read: null, write: null, admin: null };

/** What the service refused, with its problem document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.problem = problem;
  }
}

/** The scope that a request needs, as the service sees it. */
function scopeOf(method, path) {
  if (path.startsWith("v1/admin/")) return "admin";
  const reading = method === "GET" || path.startsWith("v1/recommendations") || path.startsWith("v1/embeddings");
  return reading ? "read" : "write";
}

const keyFor = (scope) => keys[scope] ?? keys.admin ?? keys.write ?? keys.read;

export const setKey = (scope, key) => (keys[scope] = key);
export const hasKey = () => Object.values(keys).some(Boolean);
export function forgetKeys() {
  for (const scope of Object.keys(keys)) keys[scope] = null;
}

export const address = (path, query = {}) => {
  const url = new URL(path, root);
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined) url.searchParams.append(name, value);
  return url;
};

/** Longer than any answer takes that is still wanted. */
const PATIENCE_MS = 30_000;
/** What takes less is not worth showing that it takes time. */
const BUSY_AFTER_MS = 300;
let pending = 0;

async function waiting(promise) {
  pending += 1;
  const timer = setTimeout(() => document.documentElement.classList.add("busy"), BUSY_AFTER_MS);
  try {
    const answer = await promise;
    document.documentElement.classList.remove("away");
    return answer;
  } catch (error) {
    if (error.name !== "AbortError") document.documentElement.classList.add("away");
    throw error;
  } finally {
    clearTimeout(timer);
    pending -= 1;
    if (!pending) document.documentElement.classList.remove("busy");
  }
}

/** One request, whatever comes back: { status, ok, data, text, headers, ms }. */
export async function send(method, path, { query, body, signal, key } = {}) {
  const chosen = key === undefined ? keyFor(scopeOf(method, path)) : key;
  // Counted apart from what callers ask.
  const headers = { "X-DiffCDR-Console": "1" };
  if (chosen) headers["Authorization"] = `Bearer ${chosen}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const began = performance.now();
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const [response, text] = await waiting(
    fetch(address(path, query), {
      method,
      headers,
      body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    }).then(async (answer) => [answer, await answer.text()]),
  );
  const ms = performance.now() - began;
  let data = null;
  if (/json/.test(response.headers.get("content-type") ?? "")) {
    try {
      data = JSON.parse(text);
    } catch {
      data = null;
    }
  }
  return { status: response.status, ok: response.ok, data, text, headers: response.headers, ms };
}

/** One request that has to succeed; asks for another key where the one there is does not do. Throws Refused. */
export async function call(method, path, options = {}) {
  const scope = scopeOf(method, path);
  let key = options.key === undefined ? keyFor(scope) : options.key;
  let answer = await send(method, path, { ...options, key });
  while ((answer.status === 401 || (answer.status === 403 && answer.data?.code === "forbidden")) && options.ask !== false) {
    const newer = keyFor(scope);
    if (newer && newer !== key) {
      // Another request has asked for it since this one was sent.
      key = newer;
    } else {
      key = await askOnce(scope, answer.status);
      // Kept before it is tried: whoever asked may have given up meanwhile.
      setKey(scope, key);
      if (key === null) break;
    }
    answer = await send(method, path, { ...options, key });
  }
  if (!answer.ok) throw new Refused(answer.status, answer.data ?? { title: `status ${answer.status}` });
  return answer;
}

/** One segment of an address; an id of dots alone would name a folder above. */
export const segment = (text) => (/^\.+$/.test(text) ? text.replaceAll(".", "%2E") : encodeURIComponent(text));

/** Server-Timing as [name, milliseconds] pairs. */
export function timings(headers) {
  return (headers.get("server-timing") ?? "")
    .split(",")
    .map((part) => /^\s*([\w-]+);dur=([\d.]+)/.exec(part))
    .filter(Boolean)
    .map(([, label, ms]) => [label, Number(ms)]);
}

const asked = new Map();

/** Ask for a key once, however many requests wait for it. */
function askOnce(scope, status) {
  const known = keyFor(scope);
  const why = !known ? "" : status === 401 ? "The present key is no longer valid." : `The present key lacks the scope “${scope}”.`;
  if (!asked.has(scope)) asked.set(scope, askKey(scope, why).finally(() => asked.delete(scope)));
  return asked.get(scope);
}

function askKey(scope, why) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", required: true });
    const close = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    const form = h(
      "form",
      {
        class: "stack",
        onsubmit: (event) => {
          event.preventDefault();
          if (input.value) close(input.value);
        },
      },
      h("h2", { id: "key-title" }, `API key with the scope “${scope}”`),
      h("p", { class: "small muted" }, why || "This needs a key. It is kept in this page’s memory, until you reload."),
      field("Key", input),
      h(
        "div",
        { class: "row" },
        h("button", { class: "button primary", type: "submit" }, "Continue"),
        h("button", { class: "button", type: "button", onclick: () => close(null) }, "Cancel"),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "key-title", oncancel: (event) => (event.preventDefault(), close(null)) }, form);
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
