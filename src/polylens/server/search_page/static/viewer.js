// One page at full size, over the results.

import * as api from "./api.js";
import { find, sentence, tell } from "./dom.js";
import { lettersOf } from "./letters.js";
import { hideLit, showLit } from "./lit.js";
import { marksOf } from "./marks.js";
import { marked, placesOfWords } from "./words.js";

const WIDTH = 1600; // pixels that are asked for

const dialog = find("viewer");
const image = find("page-image");
const paper = find("paper");
let open = null; // { file, page, pages, kind, query, places, from }
let request = null; // for the text
let words = []; // of the page, once they are there
let shownPlaces = null; // of the search, that have marks
let isLit = false; // whether the reader wants to know why; outlives the page

/** @param actions What to do when the reader asks: { turn(page), close(), alike(file, page) }. */
export function prepareViewer(actions) {
  const turn = (step) => canTurn(step) && actions.turn(open.page + step);
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  find("close").addEventListener("click", actions.close);
  find("viewer-alike").addEventListener("click", () => actions.alike(open.file, open.page));
  find("whole-page").addEventListener("click", toggleFit);
  find("why-toggle").addEventListener("click", () => {
    isLit = !isLit;
    showWhy();
  });
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault(); // Escape: the address says whether it is open
    actions.close();
  });
  dialog.addEventListener("close", () => {
    // Browsers do not let Escape be held up twice. They tell of it a frame later, when it may be open again.
    if (open && !dialog.open) actions.close();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && actions.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
  image.addEventListener("error", () => {
    if (open && api.hasPicture(open.kind)) tell(find("viewer-problem"), "This page has no picture to show.");
  });
  image.addEventListener("load", () => {
    paper.classList.remove("waiting");
    showLetters();
    showMarks();
  });
}

/**
 * Shows a page.
 *
 * @param wanted `pages` is null where it is not known how many the file has; `places` and `from` are those of a result.
 */
export function showPage(wanted) {
  const { file, page, query } = wanted;
  const same = open && open.file === file && open.page === page && open.query === query && dialog.open;
  open = { ...wanted, kind: same ? open.kind : wanted.kind };
  label();
  if (same) {
    if (JSON.stringify(wanted.places) !== JSON.stringify(shownPlaces)) showMarks(); // the search was slower than the page
    return;
  }
  if (!dialog.open) {
    dialog.showModal();
    find("viewer-file").focus(); // its name is the first thing to be read out
  }
  for (const name of ["viewer-problem", "viewer-note"]) tell(find(name), "");
  find("stage").scrollTop = 0;
  words = [];
  showPaper();
  showText();
}

export function hidePage() {
  open = null;
  request?.abort();
  hideLit();
  image.removeAttribute("src");
  if (dialog.open) dialog.close();
}

const canTurn = (step) => open && open.page + step >= 1 && open.page + step <= (open.pages ?? Infinity);

function label() {
  const { file, page, pages } = open;
  find("viewer-file").textContent = file;
  find("viewer-page").textContent = pages ? `Page ${page} of ${pages}` : `Page ${page}`;
  // Not `disabled`: that would throw the focus out of the button at the last page.
  find("previous").setAttribute("aria-disabled", String(!canTurn(-1)));
  find("next").setAttribute("aria-disabled", String(!canTurn(1)));
  find("download").href = api.fileAddress(file);
}

function showPaper() {
  const { file, page, kind } = open;
  const isSeen = api.hasPicture(kind);
  paper.hidden = find("whole-page").hidden = !isSeen;
  find("passage").hidden = isSeen;
  for (const layer of paper.querySelectorAll(".marks, .letters")) layer.remove();
  showWhy();
  if (!isSeen) return;
  paper.classList.add("waiting");
  image.alt = `Page ${page} of ${file}`;
  image.src = api.pageAddress(file, page, WIDTH);
}

/** The heat map, if it is wanted and there is something to light. */
function showWhy() {
  const { file, page, kind, query } = open;
  const canBe = Boolean(query) && api.hasPicture(kind);
  find("why-toggle").hidden = !canBe;
  find("why-toggle").setAttribute("aria-pressed", String(isLit));
  if (canBe && isLit) showLit(query, file, page);
  else hideLit();
}

async function showText() {
  const { file, page, query } = open;
  for (const name of ["passage", "page-text"]) find(name).replaceChildren();
  find("text-side").hidden = true;
  request?.abort();
  request = new AbortController();
  try {
    const answer = await api.text(file, page, request.signal);
    if (answer.picture !== api.hasPicture(open.kind)) {
      open.kind = answer.picture ? "image" : "text"; // a picture inside a document, whose name does not say so
      showPaper();
    }
    tell(find("viewer-note"), sentence(answer.note));
    if (answer.note) tell(find("viewer-problem"), "");
    find(answer.picture ? "page-text" : "passage").append(...marked(answer.text.trim(), query));
    find("text-side").hidden = !answer.picture || !answer.text.trim();
    words = answer.words ?? [];
    showLetters();
    showMarks();
    if (answer.pages && !open.pages) {
      open.pages = answer.pages;
      label();
    }
  } catch (error) {
    if (error.name !== "AbortError") tell(find("viewer-problem"), sentence(error.message));
  }
}

const isDrawn = () => open && !paper.hidden && !paper.classList.contains("waiting") && image.naturalWidth > 0;

/** The text over the picture, once both are there. */
function showLetters() {
  if (!isDrawn() || !words.length || paper.querySelector(".letters")) return;
  paper.append(lettersOf(words, image.naturalWidth / image.naturalHeight));
}

/** The places that the search names; on a page that it did not find, the words of the query. */
function showMarks() {
  if (!isDrawn()) return;
  paper.querySelector(".marks")?.remove();
  shownPlaces = open.places;
  const places = open.places.length ? open.places : placesOfWords(words, open.query);
  if (!places.length) return;
  const marks = marksOf(places, open.places.length ? open.from : "words");
  image.after(marks);
  marks.firstChild.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function toggleFit(event) {
  const button = event.currentTarget;
  const whole = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(whole));
  find("stage").classList.toggle("fits", whole);
}
