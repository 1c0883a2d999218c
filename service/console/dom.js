// Making elements. Text only ever becomes text: nothing here, or anywhere in the console, parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** An HTML element: h("p", { class: "note", onclick: f }, "text", other). */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Somebody else's text, whatever direction it is written in, kept from turning its surroundings round. */
export const name = (text) => h("bdi", {}, text);

/** Replace what is in an element. */
export function put(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** A panel with a heading. */
export const panel = (title, body, { actions, label, className = "" } = {}) =>
  h(
    "section",
    { class: `panel ${className}`, "aria-label": label ?? (typeof title === "string" ? title : null) },
    h("header", {}, typeof title === "string" ? h("h2", {}, title) : title, actions),
    body,
  );

let fields = 0;

/** A labelled control; `around` is what stands in its place where the control is part of something. */
export function field(label, control, around = control) {
  control.id ||= `field${++fields}`;
  return h("div", { class: "field" }, h("label", { for: control.id }, label), around);
}

/** Say something to who cannot see the page change. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

export const short = (id) => id.slice(0, 12);

const count = new Intl.NumberFormat("en");
export const whole = (value) => count.format(value);

/** About three significant digits, without exponents for what people meet. */
export function figure(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1000) return whole(Math.round(value));
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return size >= 0.001 ? value.toFixed(3) : value.toExponential(1);
}

/** Wait for a pause before calling: typing must not ask for every letter. */
export function calmly(call, ms = 120) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), ms);
  };
}
