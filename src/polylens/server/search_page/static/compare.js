// A tool of the playground: the cosine of each pair of some texts and pictures.

import * as api from "./api.js";
import { counted, find, make } from "./dom.js";

export const compare = {
  name: "compare",
  path: "/v1/embeddings",
  most: 8,
  starters: ["a sailing boat on a calm sea", "ein Segelboot auf ruhiger See", "the invoice for the new mast"].map(
    (text) => ({ text })),
  runsAtOnce: true,
  canUse: (model) => model.output_modalities.includes("embeddings"),
  preferred: ([first]) => first,
  showChoices,
  missing: (shown) => (shown.length < 2 ? "Two or more texts or pictures can be compared." : null),
  body,
  clear: () => find("matrix").replaceChildren(),
  busy: (is) => find("matrix").setAttribute("aria-busy", is),
  show,
};

function showChoices({ matryoshka_dims: dims, max_output_length: widest, tasks }) {
  const sizes = [...new Set([...(dims ?? []), widest])].sort((one, other) => other - one);
  find("size").replaceChildren(...sizes.map((size) => new Option(size, size)));
  find("task").replaceChildren(...["", ...(tasks ?? [])].map((task) => new Option(task || "the model's own", task)));
  if (tasks?.includes("text-matching")) find("task").value = "text-matching"; // for pairs without direction
}

/** The body of the request, as the server gets it. */
function body(model, input) {
  const fields = { model, input, dimensions: Number(find("size").value) };
  const task = find("task").value;
  return task ? { ...fields, task } : fields;
}

async function show(wish, shown, items, signal) {
  const { data } = await api.embed(wish, signal);
  showMatrix(shown, items, data.map((each) => each.embedding));
  return `${counted(shown.length, "vector")} of ${wish.dimensions} numbers`;
}

// The vectors have unit length, so that this is their cosine.
const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);

function showMatrix(shown, items, vectors) {
  const numbers = shown.map((item) => items.indexOf(item) + 1);
  const names = shown.map((item) => item.name ?? item.text);
  const head = make("tr", {}, make("td"), ...numbers.map((number, at) =>
    make("th", { scope: "col", title: names[at] }, number)));
  const rows = vectors.map((one, at) => make("tr", {},
    make("th", { scope: "row", title: names[at] }, make("div", {}, make("span", {}, numbers[at]), ` ${names[at]}`)),
    ...vectors.map((other) => cell(dot(one, other)))));
  find("matrix").replaceChildren(make("table", {},
    make("caption", { className: "unseen" }, "Cosine of each pair, 1 being the same direction"),
    make("thead", {}, head), make("tbody", {}, ...rows)));
}

function cell(value) {
  const element = make("td", { className: value < 0 ? "cell negative" : "cell" }, value.toFixed(2));
  element.style.setProperty("--share", `${Math.round(100 * Math.min(1, Math.abs(value)))}%`);
  return element;
}
