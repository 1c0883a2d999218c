// A text field with suggestions, as the ARIA Authoring Practices describe it.

import { announce, calmly, field, h, put } from "./dom.js";

let made = 0;

/**
 * @param {object} options
 * @param {(text: string, signal: AbortSignal) => Promise<object[]>} options.find what to suggest for a text
 * @param {(entry: object) => string} options.value the text of a suggestion once it is chosen
 * @param {(entry: object) => Node[]} options.show what a suggestion looks like
 * @param {(value: string, entry: object | null) => void} options.choose called with what was chosen, or typed
 * @param {string} options.label
 * @returns {{ element: HTMLElement, input: HTMLInputElement }} `element` is the labelled field
 */
export function combobox({ find, value, show, choose, placeholder = "", text = "", label }) {
  const id = `combo${++made}`;
  const list = h("ul", { id, role: "listbox", hidden: true, "aria-label": label });
  const input = h("input", {
    type: "text",
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
    autocomplete: "off",
    spellcheck: "false",
    placeholder,
    value: text,
  });
  let entries = [];
  let active = -1;
  let asking = null;

  const close = () => {
    asking?.abort();
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (index) => {
    active = index;
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === index)));
    if (index < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", `${id}-${index}`);
    list.children[index].scrollIntoView({ block: "nearest" });
  };
  const take = (index) => {
    const entry = entries[index] ?? null;
    if (entry) input.value = value(entry);
    close();
    choose(input.value, entry);
  };
  const look = async () => {
    asking?.abort();
    const mine = (asking = new AbortController());
    try {
      const found = await find(input.value.trim(), mine.signal);
      if (mine.signal.aborted || document.activeElement !== input) return;
      entries = found;
    } catch (error) {
      if (error.name !== "AbortError") close();
      return;
    }
    put(
      list,
      entries.map((entry, index) =>
        h(
          "li",
          {
            id: `${id}-${index}`,
            role: "option",
            "aria-selected": "false",
            onpointerdown: (event) => event.preventDefault(),
            onclick: () => take(index),
          },
          show(entry),
        ),
      ),
    );
    active = -1;
    list.hidden = entries.length === 0;
    input.setAttribute("aria-expanded", String(entries.length > 0));
    announce(entries.length ? `${entries.length} suggestions` : "no suggestions");
  };
  const calm = calmly(look);

  input.addEventListener("input", calm);
  input.addEventListener("focus", () => {
    input.select();
    calm();
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) return calm();
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark((active + step + entries.length) % entries.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(active);
    } else if (event.key === "Escape") {
      close();
    }
  });
  return { element: field(label, input, h("div", { class: "combo" }, input, list)), input };
}
