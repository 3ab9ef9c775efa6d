// The raw model: texts and pictures in, how alike they are out, and the request that does the same.

import * as api from "./api.js";
import { counted, find, icon, later, make, tell } from "./dom.js";
import { hasKey } from "./login.js";
import { readPicture } from "./picture.js";
import { asCurl, asPython } from "./request.js";

const MOST = 8;
const STARTERS = ["a sailing boat on a calm sea", "ein Segelboot auf ruhiger See", "the invoice for the new mast"];

let models = null; // rows of /v1/models; null before they were asked for
let items = STARTERS.map((text) => ({ text }));
let request = null;

/** Called whenever the playground is shown; does its work the first time. */
export async function preparePlayground() {
  if (models) return;
  models = [];
  listen();
  showItems();
  try {
    models = (await api.models()).data.filter((model) => model.output_modalities.includes("embeddings"));
  } catch (error) {
    models = null;
    return tell(find("playground-problem"), error.message);
  }
  find("model").replaceChildren(...models.map((model) => new Option(model.id.replace(/^.*\//, ""), model.id)));
  showChoices();
  compare();
}

/** Pictures that were dropped or pasted while the playground is shown. */
export async function picturesForPlayground(files) {
  try {
    const room = MOST - items.length;
    for (const file of files.slice(0, room)) {
      items.push({ image: await readPicture(file), name: file.name || "pasted" });
    }
    tell(find("playground-problem"), files.length > room ? `${MOST} texts and pictures are the most.` : "");
  } catch (error) {
    tell(find("playground-problem"), error.message);
  }
  showItems();
  compare();
}

let listening = false;

function listen() {
  if (listening) return;
  listening = true;
  find("playground").addEventListener("submit", (event) => event.preventDefault());
  find("model").addEventListener("change", () => {
    showChoices();
    compare();
  });
  for (const id of ["task", "size"]) find(id).addEventListener("change", compare);
  find("add-text").addEventListener("click", () => {
    items.push({ text: "" });
    showItems();
    find("inputs").lastElementChild.querySelector("input").focus();
  });
  find("add-picture").addEventListener("change", (event) => {
    picturesForPlayground([...event.target.files]);
    event.target.value = "";
  });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
}

const chosenModel = () => models.find((model) => model.id === find("model").value);

function showChoices() {
  const { matryoshka_dims: dims, max_output_length: widest, tasks } = chosenModel();
  const sizes = [...new Set([...(dims ?? []), widest])].sort((one, other) => other - one);
  find("size").replaceChildren(...sizes.map((size) => new Option(size, size)));
  find("task").replaceChildren(...["", ...(tasks ?? [])].map((task) => new Option(task || "the model's own", task)));
  if (tasks?.includes("text-matching")) find("task").value = "text-matching"; // for pairs without direction
}

function showItems() {
  find("inputs").replaceChildren(...items.map(row));
  const full = items.length >= MOST;
  find("add-text").disabled = find("add-picture").disabled = full;
}

function row(item, index) {
  const number = index + 1;
  const remove = make("button", { type: "button", className: "button quiet" }, icon("close"),
    make("span", { className: "unseen" }, `Remove ${number}`));
  remove.addEventListener("click", () => {
    items.splice(index, 1);
    showItems();
    find("add-text").focus();
    compare();
  });
  return make("li", {}, make("span", { className: "number", "aria-hidden": "true" }, number), content(item, number), remove);
}

function content(item, number) {
  if (item.image) {
    return make("span", { className: "pictured" }, make("img", { src: item.image, alt: `Picture ${number}` }),
      make("span", {}, item.name));
  }
  const field = make("input", { type: "text", value: item.text, placeholder: "A text", "aria-label": `Text ${number}` });
  field.addEventListener("input", () => {
    item.text = field.value;
    compareSoon();
  });
  return field;
}

const filled = () => items.filter((item) => item.image || item.text.trim());

/** The body of the request, as the server gets it. */
function body() {
  const fields = {
    model: chosenModel().id,
    input: filled().map((item) => (item.image ? { image: item.image } : { text: item.text.trim() })),
    dimensions: Number(find("size").value),
  };
  const task = find("task").value;
  return task ? { ...fields, task } : fields;
}

async function compare() {
  if (!models?.length) return;
  request?.abort();
  const shown = filled();
  const wish = body();
  showRequest(wish);
  if (shown.length < 2) {
    find("matrix").replaceChildren();
    find("playground-status").textContent = "Two or more texts or pictures can be compared.";
    return;
  }
  request = new AbortController();
  find("matrix").setAttribute("aria-busy", "true");
  try {
    const { data } = await api.embed(wish, request.signal);
    tell(find("playground-problem"), "");
    showMatrix(shown, data.map((each) => each.embedding));
    find("playground-status").textContent = `${counted(shown.length, "vector")} of ${wish.dimensions} numbers`;
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(find("playground-problem"), error.message);
  }
  find("matrix").removeAttribute("aria-busy");
}

const compareSoon = later(400, compare);

// The vectors have unit length, so that this is their cosine.
const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);

function showMatrix(shown, vectors) {
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

function showRequest(wish) {
  const address = `${location.origin}/v1/embeddings`;
  for (const [id, write] of [["curl", asCurl], ["python", asPython]]) {
    find(id).textContent = write(address, wish, { short: true, keyed: hasKey() });
  }
}

async function copy(button) {
  const id = button.dataset.copy;
  const write = id === "curl" ? asCurl : asPython;
  const written = write(`${location.origin}/v1/embeddings`, body(), { keyed: hasKey() });
  const label = button.querySelector(".label");
  try {
    await navigator.clipboard.writeText(written);
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(find(id)); // without https browsers do not let a page copy
    label.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (label.textContent = "Copy"), 2500);
}
