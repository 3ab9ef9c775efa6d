// One page at full size, over the results.

import * as api from "./api.js";
import { find, marked, sentence, tell } from "./dom.js";
import { hideHeat, showHeat } from "./heat.js";

const dialog = find("viewer");
const image = find("page-image");
let open = null; // { file, page, pages, kind, query }
let request = null; // for the text

/** @param actions What to do when the reader asks: { turn(page), close(), alike(file, page) }. */
export function prepareViewer(actions) {
  const turn = (step) => canTurn(step) && actions.turn(open.page + step);
  find("previous").addEventListener("click", () => turn(-1));
  find("next").addEventListener("click", () => turn(1));
  find("close").addEventListener("click", actions.close);
  find("viewer-alike").addEventListener("click", () => actions.alike(open.file, open.page));
  find("whole-page").addEventListener("click", toggleFit);
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
  image.addEventListener("load", () => find("paper").classList.remove("waiting"));
}

/** Shows a page; `pages` is null where it is not known how many the file has. */
export function showPage({ file, page, pages, kind, query }) {
  const same = open && open.file === file && open.page === page && open.query === query && dialog.open;
  open = { file, page, pages, kind: same ? open.kind : kind, query };
  label();
  if (same) return;
  if (!dialog.open) {
    dialog.showModal();
    find("viewer-file").focus(); // its name is the first thing to be read out
  }
  for (const name of ["viewer-problem", "viewer-note"]) tell(find(name), "");
  find("stage").scrollTop = 0;
  showPaper();
  showText();
}

export function hidePage() {
  open = null;
  request?.abort();
  hideHeat();
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
  const { file, page, kind, query } = open;
  const isSeen = api.hasPicture(kind);
  find("paper").hidden = find("whole-page").hidden = !isSeen;
  find("passage").hidden = isSeen;
  if (!isSeen) return hideHeat();
  showHeat(query, file, page);
  find("paper").classList.add("waiting");
  image.alt = `Page ${page} of ${file}`;
  image.src = api.pageAddress(file, page, 1600);
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
    if (answer.pages && !open.pages) {
      open.pages = answer.pages;
      label();
    }
  } catch (error) {
    if (error.name !== "AbortError") tell(find("viewer-problem"), sentence(error.message));
  }
}

function toggleFit(event) {
  const button = event.currentTarget;
  const whole = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(whole));
  find("stage").classList.toggle("fits", whole);
}
