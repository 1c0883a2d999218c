// What the views share: the bundles there are, how one is named, and what stands in the address.

import { call } from "./api.js";
import { short } from "./dom.js";

/** The answer of /v1/models and the OpenAPI document. */
export const state = { models: null, openapi: null };

const listeners = [];

/** Be told of the bundles each time they were asked for. */
export const onModels = (listener) => listeners.push(listener);

/** Ask again which bundles there are. */
export async function refreshModels() {
  state.models = (await call("GET", "v1/models")).data;
  for (const listener of listeners) listener(state.models);
  return state.models;
}

/** A bundle in a list of them: its directory first, its hash last. */
export const bundleName = (model) => `${model.name} · ${short(model.id)} (${model.state})`;

/** The view and the parameters in the address: #/try?user=ann */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path || "try", query: new URLSearchParams(query) };
}

/** Note parameters in the address without a new entry in the history. */
export function note(view, parameters) {
  const given = Object.entries(parameters).flatMap(([key, value]) => [value].flat().map((one) => [key, one]));
  const query = new URLSearchParams(given.filter(([, value]) => value !== null && value !== ""));
  history.replaceState(null, "", `#/${view}${query.size ? `?${query}` : ""}`);
}
