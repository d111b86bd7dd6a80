// Elements as functions: div({ class: "a" }, "text", span(…)). Texts are text nodes, whatever is in them: nothing here makes HTML.
import { h, Component, isValidElement, render } from "./vendor/preact.js";

const make = (tag) => (props, ...children) => {
  const bare = props === null || typeof props !== "object" || Array.isArray(props) || isValidElement(props);
  return bare ? h(tag, null, props, ...children) : h(tag, props, ...children);
};

/** `const { div, span } = tags;` */
export const tags = new Proxy({}, { get: (_, tag) => make(tag) });

/** An icon of the page's sprite; it says nothing to those who listen. */
export const icon = (name) => h("svg", { class: "icon", "aria-hidden": "true" }, h("use", { href: `#i-${name}` }));

export { h, Component, render };
