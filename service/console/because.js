// Why an item is in a list, in words, and opened, what its score is the sum of.

import { h, name } from "./dom.js";

const SMALL = 0.0005;
const titled = (source) => name(source.title ?? source.item_id);

/** Why none of a list's items is explained; nothing for the popular list, which says so itself. */
export const UNEXPLAINED = {
  no_histories: "The list cannot be explained: the bundle does not have this user’s ratings.",
  no_item_vectors: "The list cannot be explained: this model’s vectors do not follow from single ratings.",
  not_finite: "The list cannot be explained: the numbers are too large.",
};

/** “because you rated The Outlaw Sheriff”; `who` is “you” or “this user”. */
function words({ sources, target_ratings }, who) {
  const [first] = sources;
  if (target_ratings > (first?.share ?? 0)) return "because of the target ratings";
  return first ? [`because ${who} rated `, titled(first)] : "no single rating spoke for it";
}

/** A closed line of words that opens to the shares, which are made when it is first opened: a long list stays light. */
export function because(item, who) {
  const open = (event) => {
    if (event.target.open && event.target.children.length === 1) event.target.append(shareList(item));
  };
  return h("details", { class: "because small", ontoggle: open }, h("summary", {}, words(item.explanation, who)));
}

function shareList(item) {
  const { sources, other_sources, target_ratings, base, rest } = item.explanation;
  const whole = Math.abs(item.score) || 1;
  const shares = [
    ...sources.map((source) => [[titled(source), h("span", { class: "muted" }, ` rated ${source.rating.toLocaleString("en", { maximumFractionDigits: 2 })}`)], source.share]),
    ["all other source ratings", other_sources],
    ["target ratings", target_ratings],
    ["without any ratings", base],
    ["rest", rest],
  ].filter(([, share]) => Math.abs(share) > SMALL * whole);
  const longest = Math.max(...shares.map(([, share]) => Math.abs(share)));
  return h(
    "ul",
    { class: "shares", "aria-label": "Shares of the score" },
    shares.map(([label, share]) =>
      h(
        "li",
        { class: share < 0 ? "against" : null },
        h("span", { class: "clamp" }, label),
        h("span", { class: "meter" }, h("i", { vars: { width: `${(100 * Math.abs(share)) / longest}%` } })),
        h("span", { class: "num" }, `${share < 0 ? "−" : ""}${((100 * Math.abs(share)) / whole).toFixed(1)} %`),
      ),
    ),
  );
}
