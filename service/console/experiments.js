// Experiments: canary against stable, by clicks and conversions.

import { call } from "./api.js";
import { figure, h, panel, put, whole } from "./dom.js";
import { trouble } from "./trouble.js";

const VERDICTS = {
  canary_better: ["good", "canary better"],
  canary_worse: ["bad", "canary worse"],
  undecided: ["", "undecided"],
  sample_ratio_mismatch: ["warn", "sample ratio mismatch"],
};
const SHOWN = 3;

const percent = (value) => `${figure(value * 100)} %`;
const share = (rate) => (rate ? [percent(rate.share), h("br"), h("span", { class: "small muted" }, `${figure(rate.low * 100)} to ${percent(rate.high)}`)] : "–");

/** Fill `box` with the comparisons, or leave it empty if there are none. */
export async function fillExperiments(box) {
  try {
    const { experiments, attribution_hours: hours } = (await call("GET", "v1/experiments")).data;
    put(box, experiments.slice(0, SHOWN).map((one) => comparison(one, hours)));
  } catch (error) {
    put(box, trouble(error, () => fillExperiments(box)));
  }
}

function comparison(experiment, hours) {
  const { arms, comparisons, sample_ratio: ratio } = experiment;
  const row = (label, cells) => h("tr", {}, h("th", { scope: "row" }, label), cells.map((cell) => h("td", { class: "num" }, cell)));
  const counted = (label, field) => row(label, arms.map((arm) => whole(arm[field])));
  return panel(
    "Canary against stable",
    h(
      "div",
      { class: "body stack" },
      ratio?.mismatch && h("p", { class: "note warn small" }, `${figure(ratio.found_percent)} % of the users came to the canary, not ${figure(ratio.expected_percent)} %: events of one arm are lost.`),
      h("dl", { class: "facts", vars: { margin: "0" } }, comparisons.map(result)),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Counts by arm" },
        h(
          "table",
          {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Events"), arms.map((arm) => h("th", { scope: "col", class: "num" }, arm.arm, h("br"), h("code", {}, arm.bundle.slice(0, 8)))))),
          h(
            "tbody",
            {},
            counted("users", "users"),
            counted("impressions", "impressions"),
            counted("clicks", "clicks"),
            counted("conversions", "conversions"),
            row("who clicked", arms.map((arm) => share(arm.click_rate))),
            row("who converted", arms.map((arm) => share(arm.conversion_rate))),
          ),
        ),
      ),
      h("p", { class: "small muted" }, `Events within ${figure(hours)} hours of their list. Intervals hold at every look together, 95 %.`),
    ),
    { label: "Experiment", actions: h("span", { class: `badge ${experiment.running ? "accent" : ""}` }, `${Number(experiment.percent.toPrecision(3))} % · ${experiment.running ? "running" : "ended"}`) },
  );
}

function result({ metric, ratio, low, high, verdict }) {
  const [kind, words] = VERDICTS[verdict];
  const bounds = `${figure(low)} to ${high === null ? "∞" : figure(high)}`;
  return h(
    "div",
    {},
    h("dt", {}, `${metric}, canary over stable`),
    h("dd", { class: "num" }, ratio === null ? "–" : figure(ratio), h("span", { class: "small muted" }, ` ${bounds} `), h("span", { class: `badge ${kind}` }, words)),
  );
}
