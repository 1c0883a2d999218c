// The examples of the API's description, with users, items and bundles that there are.

import { call } from "./api.js";
import { state } from "./shared.js";

/** How the description's own examples name things: u00042, s00003, t00007. */
const STANDS_FOR = /^(u|s|t)\d{5}$/;

export async function examples() {
  const items = async (domain) => (await call("GET", "v1/items", { query: { domain, limit: 20 } })).data.items.map((item) => item.item_id);
  const [users, source, target, lists] = await Promise.all([
    call("GET", "v1/users", { query: { limit: 20 } }).then(({ data }) => data.users),
    items("source"),
    items("target"),
    // Without a readable state there is none to name.
    call("GET", "v1/lists").then(({ data }) => data.lists, () => []),
  ]);
  const tables = { u: users, s: source, t: target };
  const given = new Map();
  const real = (text) => {
    const found = STANDS_FOR.exec(text);
    const table = found && tables[found[1]];
    if (!table?.length) return text;
    if (!given.has(text)) given.set(text, table[given.size % table.length]);
    return given.get(text);
  };
  const stable = state.models.models[0].id;
  const fill = (value) => {
    if (typeof value === "string") return real(value);
    if (Array.isArray(value)) return value.map(fill);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fill(one)]));
    return value;
  };

  return {
    /** The path with its parameters filled in. */
    address: (path) => path.replace("{user_id}", encodeURIComponent(users[0] ?? "somebody")).replace("{model_id}", stable).replace("{item_id}", encodeURIComponent(target[0] ?? "something")).replace("{name}", encodeURIComponent(lists[0] ?? "summer-2026")),
    /** A body as text. */
    body(operation, path) {
      const content = operation.requestBody.content;
      const schema = resolve(content["application/json"]?.schema ?? Object.values(content)[0].schema);
      const own = { "/v1/admin/models/activate": { model: stable }, "/v1/admin/traffic": { canary: null, percent: 0 } }[path];
      const item = schema.type === "array" ? resolve(schema.items) : schema;
      const example = fill(own ?? item.examples?.[0] ?? {});
      return JSON.stringify(item === schema ? example : [example], null, 2);
    },
  };
}

function resolve(schema) {
  const named = schema?.$ref?.split("/").at(-1);
  return named ? state.openapi.components.schemas[named] : (schema ?? {});
}
