// The state of the library: how much there is, what is being indexed, what could not be read.

import * as api from "./api.js";
import { counted, find, make, tell } from "./dom.js";
import { missingLine } from "./unsearchable.js";

const BUSY_PAUSE = 1000; // milliseconds between two looks while the index grows
const CALM_PAUSE = 20000;

/** Keeps the library's state on the page, and calls back with it whenever its numbers of pages have changed. */
export function watchLibrary(changed) {
  let timer;
  let facets = null;
  async function look() {
    clearTimeout(timer);
    let busy = true;
    try {
      const library = await api.library();
      show(library);
      busy = library.updating !== null;
      const counted = JSON.stringify(library.facets);
      if (counted !== facets) changed(library, facets === null);
      facets = counted;
    } catch (error) {
      find("library-line").textContent = error.message;
    }
    if (!document.hidden) timer = setTimeout(look, busy ? BUSY_PAUSE : CALM_PAUSE);
  }
  document.addEventListener("visibilitychange", () => document.hidden || look());
  look();
}

function show(library) {
  const line = find("library-line");
  line.title = library.folder;
  line.replaceChildren(make("strong", {}, library.name),
    ` ${counted(library.files, "file")}, ${counted(library.pages, "page")}, indexed with ${library.model}`);
  document.body.dataset.matches = library.matches;
  tell(find("library-problem"), library.problem);
  showUpdating(library.updating);
  tell(find("failed"), missingLine(library));
}

function showUpdating(updating) {
  find("updating").hidden = !updating;
  if (!updating) return;
  const progress = find("progress");
  if (updating.total_pages) {
    progress.max = updating.total_pages;
    progress.value = updating.done_pages;
  } else {
    progress.removeAttribute("value"); // not known yet
  }
  find("updating-line").textContent = updatingLine(updating);
}

function updatingLine({ phase, file, done_pages: done, total_pages: total, eta_seconds: eta }) {
  if (phase === "scanning") return file ? `Looking at ${file}` : "Looking at the folder";
  const left = typeof eta === "number" ? `, ${duration(eta)} left` : "";
  if (phase === "finishing") return `Finishing the index${left}`;
  return `Indexing ${file ? `${file}, ` : ""}${done} of ${counted(total, "page")}${left}`;
}

function duration(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}
