// The raw models: texts and pictures in, how alike they are or in which order they answer a query out, and the request
// that does the same. What differs between the two is in compare.js and rank.js.

import * as api from "./api.js";
import { compare } from "./compare.js";
import { find, icon, later, make, tell } from "./dom.js";
import { hasKey } from "./login.js";
import { addressesIn, readPicture } from "./picture.js";
import { rank } from "./rank.js";
import { asCurl, asPython } from "./request.js";

const TOOLS = { compare, rank };
const lists = { compare: compare.starters, rank: rank.starters }; // what was put in, for each
const picked = {}; // the model that was chosen, for each

let models = null; // rows of /v1/models; null before they were asked for
let tool = compare;
let request = null;
let listening = false;

const items = () => lists[tool.name];

/**
 * Called whenever the playground is shown; does its work the first time, or for the other tool.
 *
 * @param name Of the tool: "compare" or "rank".
 * @param choose Called with the name of the tool that was chosen.
 */
export async function preparePlayground(name, choose) {
  if (models && tool.name === name) return;
  tool = TOOLS[name];
  listen(choose);
  showTool();
  if (!models) {
    models = [];
    try {
      models = (await api.models()).data;
    } catch (error) {
      models = null;
      return tell(find("playground-problem"), error.message);
    }
  }
  showModels();
  changed();
}

/** Pictures that were dropped or pasted while the playground is shown. */
export async function picturesForPlayground(files) {
  const problems = [];
  for (const file of files) {
    if (!room(problems)) break;
    try {
      items().push({ image: await readPicture(file), name: file.name || "pasted" });
    } catch (error) {
      problems.push(error.message);
    }
  }
  taken(problems);
}

/** Addresses of pictures. The server fetches them: this page loads nothing from other hosts, so they are not shown. */
export function addressesForPlayground(addresses) {
  const problems = [];
  for (const address of addresses) {
    if (!room(problems)) break;
    const inline = address.startsWith("data:");
    items().push({ image: address, name: inline ? "pasted" : address, isElsewhere: !inline });
  }
  taken(problems);
}

/** Whether one more fits; where it does not, that is a problem. */
function room(problems) {
  if (items().length < tool.most) return true;
  problems.push(`${tool.most} texts and pictures are the most.`);
  return false;
}

function taken(problems) {
  showItems();
  changed();
  tell(find("playground-problem"), problems.join(" "));
}

function listen(choose) {
  if (listening) return;
  listening = true;
  find("playground").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  for (const choice of document.getElementsByName("tool")) {
    choice.addEventListener("change", () => choose(choice.value));
  }
  find("model").addEventListener("change", () => {
    picked[tool.name] = find("model").value;
    compare.showChoices(chosenModel());
    changed();
  });
  for (const id of ["task", "size"]) find(id).addEventListener("change", changed);
  find("ranked-by").addEventListener("input", changed);
  find("add-text").addEventListener("click", () => {
    items().push({ text: "" });
    showItems();
    find("inputs").lastElementChild.querySelector("input").focus();
  });
  find("add-picture").addEventListener("change", (event) => {
    picturesForPlayground([...event.target.files]);
    event.target.value = "";
  });
  find("add-addresses").addEventListener("click", addAddresses);
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
}

function addAddresses() {
  const { addresses, others } = addressesIn(find("addresses").value);
  if (others.length) {
    return tell(find("playground-problem"), `“${others[0]}” is no address: one begins with http:// or https://.`);
  }
  find("addresses").value = "";
  addressesForPlayground(addresses);
}

const chosenModel = () => models.find((model) => model.id === find("model").value);

function showTool() {
  for (const choice of document.getElementsByName("tool")) choice.checked = choice.value === tool.name;
  for (const element of document.querySelectorAll("[data-tool]")) element.hidden = element.dataset.tool !== tool.name;
  tell(find("playground-problem"), "");
  showItems();
}

/** The models that the tool can use; the one that was chosen for it stays chosen. */
function showModels() {
  const usable = models.filter(tool.canUse);
  find("model").replaceChildren(...usable.map((model) => new Option(model.id.replace(/^.*\//, ""), model.id)));
  if (!usable.length) return;
  find("model").value = picked[tool.name] ?? tool.preferred(usable).id;
  compare.showChoices(chosenModel());
}

function showItems() {
  find("inputs").replaceChildren(...items().map(row));
  const full = items().length >= tool.most;
  find("add-text").disabled = find("add-picture").disabled = find("add-addresses").disabled = full;
}

function row(item, index) {
  const number = index + 1;
  const remove = make("button", { type: "button", className: "button quiet" }, icon("close"),
    make("span", { className: "unseen" }, `Remove ${number}`));
  remove.addEventListener("click", () => {
    items().splice(index, 1);
    showItems();
    find("add-text").focus();
    changed();
  });
  return make("li", {}, make("span", { className: "number", "aria-hidden": "true" }, number), content(item, number), remove);
}

function content(item, number) {
  if (item.image) {
    const shown = item.isElsewhere ? icon("picture") : make("img", { src: item.image, alt: `Picture ${number}` });
    return make("span", { className: "pictured" }, shown, make("span", { title: item.name }, item.name));
  }
  const field = make("input", { type: "text", value: item.text, placeholder: "A text", "aria-label": `Text ${number}` });
  field.addEventListener("input", () => {
    item.text = field.value;
    if (tool.runsAtOnce) changedSoon();
    else changed();
  });
  return field;
}

const filled = () => items().filter((item) => item.image || item.text.trim());

const inputs = () => filled().map((item) => (item.image ? { image: item.image } : { text: item.text.trim() }));

const body = () => tool.body(chosenModel().id, inputs());

/** Something else is asked for: shown at once where that takes little, once it is sent otherwise. */
function changed() {
  if (!models?.length) return;
  request?.abort();
  if (!chosenModel()) return tell(find("playground-problem"), "No served model can do this.");
  showRequest(body());
  if (tool.runsAtOnce) return run();
  tool.clear();
  tool.busy(false);
  find("playground-status").textContent = tool.missing(filled()) ?? tool.prompt;
}

const changedSoon = later(400, changed);

async function run() {
  if (!models?.length || !chosenModel()) return;
  request?.abort();
  const [shown, wish] = [filled(), body()];
  const missing = tool.missing(shown);
  if (missing) {
    tool.clear();
    find("playground-status").textContent = missing;
    return;
  }
  request = new AbortController();
  const { signal } = request;
  tool.busy(true);
  if (!tool.runsAtOnce) find("playground-status").textContent = "Ranking …";
  try {
    find("playground-status").textContent = await tool.show(wish, shown, items(), signal);
    tell(find("playground-problem"), "");
  } catch (error) {
    if (error.name === "AbortError") return;
    find("playground-status").textContent = "";
    tell(find("playground-problem"), error.message);
  }
  tool.busy(false);
}

function showRequest(wish) {
  const address = `${location.origin}${tool.path}`;
  for (const [id, write] of [["curl", asCurl], ["python", asPython]]) {
    find(id).textContent = write(address, wish, { short: true, keyed: hasKey() });
  }
}

async function copy(button) {
  const id = button.dataset.copy;
  const write = id === "curl" ? asCurl : asPython;
  const written = write(`${location.origin}${tool.path}`, body(), { keyed: hasKey() });
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
