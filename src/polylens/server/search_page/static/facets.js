// What the library can be narrowed by: kinds, languages, folders and dates, with the numbers of pages that each has.

import { counted, find, make } from "./dom.js";

const NAMES = new Intl.DisplayNames(navigator.languages, { type: "language" });

const menu = find("languages");
const boxes = (name) => [...document.getElementsByName(name)];

/** A language in the reader's words, or its code where the browser has no name for it. */
export function languageName(code) {
  try {
    return NAMES.of(code);
  } catch {
    return code; // of an address, written by hand
  }
}

/** @param go Called with what changes of the state, and whether it takes the place of the last change in the history. */
export function listenToFacets(go) {
  for (const box of boxes("kind")) {
    box.addEventListener("change", () => go({ kinds: chosen("kind") }));
  }
  menu.addEventListener("change", () => go({ languages: chosen("language") }));
  find("folder").addEventListener("change", (event) => go({ folder: event.target.value }));
  find("modified").addEventListener("change", (event) => {
    go({ modified: event.target.value, since: "", until: "" });
    if (event.target.value === "between") find("since").focus();
  });
  for (const name of ["since", "until"]) find(name).addEventListener("change", () => go(days(name), { replace: true }));
}

/** The two days; where they would cross, the one that was not changed gives way. */
function days(changed) {
  const [since, until] = [find("since").value, find("until").value];
  if (!since || !until || since <= until) return { since, until };
  return changed === "since" ? { since, until: since } : { since: until, until };
}

const chosen = (name) => boxes(name).filter((box) => box.checked).map((box) => box.value);

/** Lets a menu close as it is left. */
export function closeWhenLeft(menu) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  for (const event of ["pointerdown", "focusin"]) {
    document.addEventListener(event, ({ target }) => {
      if (!menu.contains(target)) menu.open = false;
    });
  }
}

/** @param facets The numbers of pages, as the server has them; null before it has answered. */
export function showFacets(facets, state) {
  showKinds(facets?.kinds, state.kinds);
  showLanguages(facets?.languages ?? {}, state.languages);
  showFolders(facets?.folders ?? {}, state.folder);
  showDates(facets?.modified, state);
}

/** Kinds that the library has no page of are no choice. */
function showKinds(kinds, picked) {
  for (const box of boxes("kind")) {
    box.checked = picked.includes(box.value);
    if (!kinds) continue;
    const pages = kinds[box.value] ?? 0;
    box.closest("label").hidden = !pages && !box.checked;
    tally(box, pages);
  }
}

function showLanguages(languages, picked) {
  const codes = withChosen(languages, picked);
  const focused = menu.contains(document.activeElement) ? document.activeElement.value : null;
  if (codes.join() !== boxes("language").map((box) => box.value).join()) {
    find("language-choices").replaceChildren(...codes.map(languageChoice));
  }
  for (const box of boxes("language")) {
    box.checked = picked.includes(box.value);
    tally(box, languages[box.value] ?? 0);
    if (focused === box.value) box.focus();
  }
  find("languages-shown").textContent = ["Language", picked.map(languageName).join(", ")].filter(Boolean).join(": ");
  menu.classList.toggle("chosen", picked.length > 0);
  menu.hidden = !codes.length;
}

const languageChoice = (code) => make("label", {},
  make("input", { type: "checkbox", name: "language", value: code }), make("span", {}, languageName(code)));

function showFolders(folders, picked) {
  const names = withChosen(folders, picked ? [picked] : []);
  find("folder").replaceChildren(new Option("All", ""),
    ...names.map((name) => new Option(`${name} (${folders[name] ?? 0})`, name)));
  find("folder").value = picked;
  find("folder-label").hidden = !names.length;
}

function showDates(modified, { modified: span, since, until }) {
  for (const option of find("modified").options) {
    option.dataset.name ??= option.textContent;
    const pages = modified?.[option.value];
    option.textContent = pages === undefined ? option.dataset.name : `${option.dataset.name} (${pages})`;
  }
  find("modified").value = span;
  find("dates").hidden = span !== "between";
  find("since").value = since;
  find("until").value = until;
}

/** What there is to choose, and what was chosen although it is not there, such as by an old address. */
const withChosen = (choices, picked) => [...new Set([...Object.keys(choices), ...picked])];

/** The number beside a choice, drawn by the style sheet; for readers of the screen a description. */
function tally(box, pages) {
  box.nextElementSibling.dataset.pages = pages.toLocaleString("en");
  box.setAttribute("aria-description", counted(pages, "page"));
}
