// polylens: search a folder. The address says what is shown; this file keeps the two together.
// The other modules: state (address), results, viewer and heat (an opened page), library (its state),
// facets (what it can be narrowed by), playground, login (a server with keys).

import * as api from "./api.js";
import { find, icon, later, make, sentence, tell } from "./dom.js";
import { listenToFacets, showFacets } from "./facets.js";
import { watchLibrary } from "./library.js";
import { enter } from "./login.js";
import { addressesForPlayground, picturesForPlayground, preparePlayground } from "./playground.js";
import { readPicture, watchForPictures } from "./picture.js";
import { showResults } from "./results.js";
import { addressOf, readState, wishOf } from "./state.js";
import { hidePage, prepareViewer, showPage } from "./viewer.js";

const MORE = 24; // results at a time
const MOST = 96;

let state = readState();
let found = null; // the last answer to a search
let asked = ""; // what it was the answer to
let drawn = {}; // the answer and the least score that the list shows
let top = MORE;
let request = null;
let libraryName = "";
let facets = null; // of the library
let rerankers = []; // names of the served models that score pages together with a query
let closing = false; // the browser was asked to go back, and has not yet

/** Goes somewhere: changes the address, and with it what is shown. */
function go(changes, { replace = false, opened = false } = {}) {
  state = { ...state, ...changes };
  const kept = { image: state.image, opened };
  if (replace) history.replaceState(kept, "", addressOf(state));
  else history.pushState(kept, "", addressOf(state));
  show();
}

function show() {
  showTab();
  if (state.tab === "playground") return hidePage();
  showForm();
  search();
  showOpened();
}

function showTab() {
  const playing = state.tab === "playground";
  find("search-view").hidden = playing;
  find("playground-view").hidden = !playing;
  for (const [id, current] of [["to-search", !playing], ["to-playground", playing]]) {
    if (current) find(id).setAttribute("aria-current", "page");
    else find(id).removeAttribute("aria-current");
  }
  if (playing) preparePlayground(state.tool, (tool) => go({ tool }, { replace: true }));
  const what = playing ? "Playground" : state.q;
  document.title = [what, libraryName, "polylens"].filter(Boolean).join(" – ");
}

function showForm() {
  if (find("q").value.trim() !== state.q) find("q").value = state.q;
  showFacets(facets, state);
  for (const choice of document.getElementsByName("by")) choice.checked = choice.value === state.by;
  showRerankers();
  find("least").value = state.least;
  const least = state.least ? state.least.toFixed(2) : "any";
  find("least-shown").textContent = least;
  find("least").setAttribute("aria-valuetext", least);
  const given = [];
  if (state.image) given.push(token("Picture", state.image, { image: null }));
  if (state.like) {
    const { file, page } = state.like;
    const source = api.hasPicture(api.kindOf(file)) ? api.pageAddress(file, page, 120) : null;
    given.push(token(`Like ${file}, page ${page}`, source, { like: null }));
  }
  find("given").replaceChildren(...given);
}

/** The served rerankers, where there are any; one of an old address is offered as well, so that it can be left. */
function showRerankers() {
  const names = [...new Set([...rerankers, ...(state.rerank ? [state.rerank] : [])])];
  find("rerank").replaceChildren(new Option("Off", ""), ...names.map((name) => new Option(name.replace(/^.*\//, ""), name)));
  find("rerank").value = state.rerank;
  find("rerank").disabled = state.like !== null; // only what was asked for in words or by a picture
  find("rerank-label").hidden = !names.length;
}

/** Something to search by that is not words, with a button that takes it away again. */
function token(label, source, without) {
  const remove = make("button", { type: "button", className: "button quiet" }, icon("close"),
    make("span", { className: "unseen" }, `Remove: ${label}`));
  remove.addEventListener("click", () => {
    go(without);
    find("q").focus();
  });
  const picture = source ? make("img", { src: source, alt: "" }) : null;
  return make("span", { className: "token" }, picture, make("span", {}, label), remove);
}

/** Asks the server, unless it has answered this already. */
async function search({ again = false } = {}) {
  const wish = wishOf(state, top);
  const asking = JSON.stringify(wish);
  if (asking === asked && !again) return render();
  asked = asking;
  request?.abort();
  tell(find("problem"), "");
  if (!wish) {
    found = null;
    return render();
  }
  if (state.by === "text" && !state.q) {
    found = { results: [], seconds: 0, reason: "full text needs words, and a picture has none; rank by another stage" };
    return render();
  }
  request = new AbortController();
  find("results").setAttribute("aria-busy", "true");
  try {
    found = await api.search(wish, request.signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    asked = ""; // to be asked again
    found = { results: [], seconds: 0, reason: "" };
    tell(find("problem"), sentence(error.message));
  }
  render();
  showOpened(); // now it is known how many pages the opened file has
}

function render() {
  find("results").removeAttribute("aria-busy");
  if (drawn.found === found && drawn.least === state.least) return; // a new list would lose the focus
  drawn = { found, least: state.least };
  showResults(found, state, ({ file, page }) => addressOf({ ...state, file, page }));
  find("more").hidden = !found || found.results.length < top || top >= MOST;
}

function showOpened() {
  if (!state.file || state.tab !== "search") return hidePage();
  const { file, page, q } = state;
  const results = found?.results.filter((each) => each.file === file) ?? [];
  const shown = results.find((each) => each.page === page);
  const kind = shown ? (shown.picture ? shown.kind : "text") : api.kindOf(file);
  showPage({ file, page, pages: results[0]?.pages ?? null, kind, query: q });
}

function close() {
  if (closing) return; // asked twice before the browser has gone back once
  closing = Boolean(history.state?.opened);
  if (closing) history.back(); // so that no trail of opened pages is left behind
  else go({ file: null }, { replace: true });
}

function alike(file, page) {
  top = MORE;
  const by = state.by === "text" ? "fused" : state.by; // a page to find the like of is no words
  go({ like: { file, page: Number(page) }, q: "", image: null, file: null, by });
  window.scrollTo({ top: 0 });
  find("q").focus();
}

async function takePicture(files) {
  if (state.tab === "playground") return picturesForPlayground(files);
  if (!files.length) return;
  try {
    top = MORE;
    go({ image: await readPicture(files[0]), like: null, file: null });
  } catch (error) {
    tell(find("problem"), error.message);
  }
}

/** Words as they are typed: one step in the history for all of them. */
function listenToForm() {
  let typing = false;
  const searchTyped = () => {
    const q = find("q").value.trim();
    if (q === state.q) return;
    top = MORE;
    go({ q, like: q ? null : state.like }, { replace: typing });
    typing = true;
  };
  find("q").addEventListener("input", later(400, searchTyped));
  find("q").addEventListener("blur", () => (typing = false));
  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    searchTyped();
    typing = false;
    search({ again: find("problem").textContent !== "" });
  });
  find("picture").addEventListener("change", (event) => {
    takePicture([...event.target.files]);
    event.target.value = ""; // so that the same one can be chosen again
  });
  for (const choice of document.getElementsByName("by")) {
    choice.addEventListener("change", () => go({ by: choice.value }, { replace: true })); // arrow keys pass by others
  }
  find("rerank").addEventListener("change", (event) => go({ rerank: event.target.value }));
  find("least").addEventListener("input", (event) => go({ least: Number(event.target.value) }, { replace: true }));
}

function listenToResults() {
  find("results").addEventListener("click", (event) => {
    const { file, page } = event.target.closest("[data-file]")?.dataset ?? {};
    if (!file) return;
    if (event.target.closest(".alike")) return alike(file, page);
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // to a tab of its own
    event.preventDefault();
    go({ file, page: Number(page) }, { opened: true });
  });
  find("more").addEventListener("click", () => {
    top += MORE;
    search();
  });
}

function listenToViews() {
  const visit = (tab) => (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (tab !== state.tab) go({ tab, file: null });
  };
  find("to-search").addEventListener("click", visit("search"));
  find("to-playground").addEventListener("click", visit("playground"));
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
    if (event.key !== "/" || writing || state.tab !== "search") return;
    event.preventDefault();
    find("q").select();
  });
  addEventListener("popstate", () => {
    closing = false;
    state = readState();
    show();
  });
}

function libraryChanged(library, first) {
  libraryName = library.name;
  ({ facets, rerankers } = library);
  showFacets(facets, state);
  showRerankers();
  showTab();
  const reading = document.activeElement.closest("#results, dialog"); // not to be disturbed
  if (!first && !reading && state.tab === "search") search({ again: true }); // there may be better pages now
}

listenToForm();
listenToFacets(go);
listenToResults();
listenToViews();
prepareViewer({
  turn: (page) => go({ page }, { replace: true, opened: history.state?.opened }),
  close,
  alike,
});
watchForPictures(takePicture, () => state.tab === "playground", addressesForPlayground);
await enter();
watchLibrary(libraryChanged);
const typed = find("q").value.trim(); // while the page was still loading
if (typed && !state.q && !state.like && state.tab === "search") go({ q: typed }, { replace: true });
else show();
