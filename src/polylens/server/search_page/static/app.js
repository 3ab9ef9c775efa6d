// polylens: search a folder. The address says what is shown; this file keeps the two together.
// The other modules: state (address), form and facets (what is asked), finding (the server's answers), results, crop and
// why (the list), nothing (an empty one), viewer, marks, letters, lit and heat (an opened page), library (its state),
// unsearchable, playground, login (a server with keys).

import * as api from "./api.js";
import { find, sentence, tell } from "./dom.js";
import { listenToFacets, showFacets } from "./facets.js";
import * as finding from "./finding.js";
import { listenToForm, setRerankers, showForm, showRerankers } from "./form.js";
import { watchLibrary } from "./library.js";
import { enter } from "./login.js";
import { showNothing } from "./nothing.js";
import { addressesForPlayground, picturesForPlayground, preparePlayground } from "./playground.js";
import { readPicture, watchForPictures } from "./picture.js";
import { addResults, showResults } from "./results.js";
import { addressOf, readState } from "./state.js";
import { listenToUnsearchable, showUnsearchable } from "./unsearchable.js";
import { hidePage, prepareViewer, showPage } from "./viewer.js";

const VIEWS = { search: "Search", missing: "Not searchable", playground: "Playground" };

let state = readState();
let library = null; // its state, once it is there
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
  if (state.tab !== "search") return hidePage();
  showForm(state, go);
  showFacets(library?.facets, state);
  search();
  showOpened();
}

function showTab() {
  for (const tab of Object.keys(VIEWS)) {
    const isShown = tab === state.tab;
    find(`${tab}-view`).hidden = !isShown;
    if (isShown) find(`to-${tab}`).setAttribute("aria-current", "page");
    else find(`to-${tab}`).removeAttribute("aria-current");
  }
  if (state.tab === "playground") preparePlayground(state.tool, (tool) => go({ tool }, { replace: true }));
  if (state.tab === "missing" && library) showUnsearchable(library);
  const what = state.tab === "search" ? state.q : VIEWS[state.tab];
  document.title = [what, library?.name, "polylens"].filter(Boolean).join(" – ");
}

async function search({ again = false } = {}) {
  const started = () => find("results").setAttribute("aria-busy", "true");
  let isNew = false;
  tell(find("problem"), "");
  try {
    isNew = await finding.search(state, { again, started });
  } catch (error) {
    isNew = true;
    tell(find("problem"), sentence(error.message));
  }
  if (!isNew) return; // a new list would lose the focus
  find("results").removeAttribute("aria-busy");
  const found = finding.latest();
  showResults(found, state, addressOfPage);
  showMore(found);
  showNothing(found, state, find("problem").textContent, go);
  showOpened(); // now it is known how many pages the opened file has
}

const addressOfPage = ({ file, page }) => addressOf({ ...state, file, page });

function showMore(found) {
  find("more").hidden = !found || found.isAll;
  find("list-tools").hidden = !found;
}

async function showFurther() {
  const button = find("more");
  button.setAttribute("aria-busy", "true");
  try {
    const results = await finding.searchMore(state);
    addResults(results, finding.latest(), state, addressOfPage);
    showMore(finding.latest());
  } catch (error) {
    if (error.name !== "AbortError") tell(find("problem"), sentence(error.message));
  }
  button.removeAttribute("aria-busy");
}

function showOpened() {
  if (!state.file || state.tab !== "search") return hidePage();
  const { file, page, q } = state;
  const results = finding.allPages().filter((each) => each.file === file);
  const shown = results.find((each) => each.page === page);
  const kind = shown ? (shown.picture ? shown.kind : "text") : api.kindOf(file);
  showPage({
    file, page, pages: results[0]?.pages ?? null, kind, query: q, places: shown?.places ?? [], from: shown?.places_from,
  });
}

function close() {
  if (closing) return; // asked twice before the browser has gone back once
  closing = Boolean(history.state?.opened);
  if (closing) history.back(); // so that no trail of opened pages is left behind
  else go({ file: null }, { replace: true });
}

function alike(file, page) {
  const by = state.by === "text" ? "fused" : state.by; // a page to find the like of is no words
  go({ like: { file, page: Number(page) }, q: "", image: null, file: null, by });
  window.scrollTo({ top: 0 });
  find("q").focus();
}

async function takePicture(files) {
  if (state.tab === "playground") return picturesForPlayground(files);
  if (!files.length) return;
  try {
    go({ tab: "search", image: await readPicture(files[0]), like: null, file: null });
    find("q").focus(); // for words beside it
  } catch (error) {
    tell(find("problem"), error.message);
  }
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
  find("more").addEventListener("click", showFurther);
}

function listenToViews() {
  for (const tab of Object.keys(VIEWS)) {
    for (const link of document.querySelectorAll(`[data-tab="${tab}"]`)) {
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        if (tab !== state.tab) go({ tab, file: null });
      });
    }
  }
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

function libraryChanged(now, first) {
  library = now;
  finding.setLeastMatch(now.min_score);
  setRerankers(now.rerankers);
  showFacets(now.facets, state);
  showRerankers(state);
  showTab();
  const reading = document.activeElement.closest("#results, dialog"); // not to be disturbed
  if (first && state.good) search(); // now that it is known what is good
  if (!first && !reading && state.tab === "search") search({ again: true }); // there may be better pages now
}

listenToForm({
  current: () => state,
  go,
  picture: takePicture,
  again: () => search({ again: find("problem").textContent !== "" }),
});
listenToFacets(go);
listenToResults();
listenToViews();
listenToUnsearchable();
prepareViewer({
  turn: (page) => go({ page }, { replace: true, opened: history.state?.opened }),
  close,
  alike,
});
watchForPictures(takePicture, () => state.tab === "playground", addressesForPlayground);
await enter();
watchLibrary(libraryChanged);
const typed = find("q").value.trim(); // while the page was still loading
const problem = find("problem").textContent; // of what was dropped meanwhile
if (typed && !state.q && !state.like && state.tab === "search") go({ q: typed }, { replace: true });
else show();
if (problem) tell(find("problem"), problem);
