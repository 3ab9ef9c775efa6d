// Small things that all parts of the page need of the document.

export const find = (id) => document.getElementById(id);

/** An element with properties and children. Texts are set as texts: names of files are never read as HTML. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A drawing of the sprite in index.html. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

/** Shows a text, or hides its element where there is none. */
export function tell(element, text) {
  element.hidden = !text;
  element.textContent = text || "";
}

/** The function, called once things have been quiet for some milliseconds. */
export function later(milliseconds, work) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

/** "1 page", "2 pages". */
export const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** With a capital, as a sentence of its own begins. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
