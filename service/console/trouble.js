// What is said where something did not work, and the way to try it again.

import { Refused } from "./api.js";
import { h } from "./dom.js";

/** One sentence for whoever looks. */
export function said(error) {
  if (error instanceof Refused) return error.message;
  // fetch throws TypeErrors and DOMExceptions; whatever else is thrown is a fault of this page.
  if (!(error instanceof TypeError) && !(error instanceof DOMException)) console.error(error);
  return navigator.onLine ? "The service does not answer. Is it running?" : "This browser is offline.";
}

/** The sentence, with a button that calls `again`. */
export const trouble = (error, again) =>
  h("div", { class: "note bad row spread", role: "alert" }, h("span", {}, said(error)), h("button", { class: "button", type: "button", onclick: again }, "Try again"));
